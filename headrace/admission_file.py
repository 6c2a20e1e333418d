"""The serve file's section of admission: how requests wait."""

from typing import Annotated

from pydantic import Field

from headrace.fleet_file import NonNegative, Positive, Section
from router.admission.settings import AdmissionSettings

_DEFAULTS = AdmissionSettings()
_Count = Annotated[int, Field(ge=0)]


class AdmissionSection(Section):
    """Waiting instead of refusing (see router.admission.settings.AdmissionSettings)."""

    max_waiting_requests: _Count = _DEFAULTS.max_waiting_requests
    max_waiting_bytes: _Count = _DEFAULTS.max_waiting_bytes
    max_wait_seconds: Positive = _DEFAULTS.max_wait_seconds
    quantum_tokens: Annotated[int, Field(ge=1)] = _DEFAULTS.quantum_tokens
    min_retry_after_seconds: Positive = _DEFAULTS.min_retry_after_seconds
    max_retry_after_seconds: Positive = _DEFAULTS.max_retry_after_seconds
    retry_jitter_ratio: NonNegative = _DEFAULTS.retry_jitter_ratio
    extend_gateway_timeout: bool = _DEFAULTS.extend_gateway_timeout

    def settings(self) -> AdmissionSettings:
        """As the router takes them."""
        return AdmissionSettings(**self.model_dump())
