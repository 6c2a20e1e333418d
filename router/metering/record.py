"""The access record: all that is known of one request when it ends, as one line of JSON. Pure."""

from typing import Any, NamedTuple

import msgspec

SCHEMA = 1


class AccessRecord(NamedTuple):
    """One request. None is unknown, and never 0; docs/metering.md says what each field means."""

    ended_epoch_seconds: float
    request_id: str | None
    trace_id: str | None
    tenant: str | None
    model: str
    api: str
    stream: bool
    priority: int
    backend: str
    replica: str
    policy: str
    reason: str
    candidates: int | None
    status: int | None
    response_seen: str
    duration_seconds: float
    ttfb_seconds: float | None
    ttft_seconds: float | None
    prompt_tokens: int | None
    cached_prompt_tokens: int | None
    output_tokens: float | None
    tokens_source: str
    joules: float | None
    dynamic_joules: float | None
    grams_co2e: float | None
    method: str
    coverage_ratio: float
    measured_ratio: float
    carbon_coverage_ratio: float
    replica_seconds: float
    predicted_dynamic_joules: float
    counterfactual_policy: str | None
    counterfactual_replica: str | None
    counterfactual_backend: str | None
    counterfactual_dynamic_joules: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values with the schema's number, ready for JSON."""
        return {"schema": SCHEMA, **self._asdict()}

    def to_line(self) -> bytes:
        """One line of JSON, with its end."""
        return _encoder.encode(self.to_dict()) + b"\n"


_encoder = msgspec.json.Encoder()

UNKNOWN_METHOD = "unknown"
"""In place of a method where no watts were known at any time."""
