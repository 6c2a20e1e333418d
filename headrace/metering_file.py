"""The serve file's sections of what is measured and told: metering, access log, tracing."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.fleet_file import Name, NonNegative, Section
from router.metering.als import AccessLogReceiverSettings
from router.metering.intensity import StaticIntensity
from router.metering.meter import MeterSettings
from router.metering.metering import MeteringSettings

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0)]
_DEFAULTS = MeteringSettings()


class MeteringSection(Section):
    """Energy, carbon and tokens per request (see router.metering)."""

    access_record_path: Name | None = _DEFAULTS.access_record_path
    model_watts: bool = _DEFAULTS.meter.model_watts
    share_with_others: bool = _DEFAULTS.meter.share_with_others
    max_tenants: Annotated[int, Field(ge=0, le=10_000)] = _DEFAULTS.max_tenants
    carbon_intensity_grams_per_kwh: NonNegative | None = None
    domain_carbon_intensity_grams_per_kwh: dict[Name, NonNegative] = Field(default_factory=dict)
    embodied_grams_per_replica_hour: NonNegative | None = None

    def intensity(self) -> StaticIntensity:
        """As the meter asks it."""
        return StaticIntensity(
            default_grams_per_kwh=self.carbon_intensity_grams_per_kwh,
            grams_per_kwh=self.domain_carbon_intensity_grams_per_kwh,
        )


class AccessLogSection(Section):
    """The receiver of Envoy's gRPC access logs (see router.metering.als)."""

    host: str = AccessLogReceiverSettings().host
    port: Port = AccessLogReceiverSettings().port
    wait_limit_seconds: Positive = _DEFAULTS.completion_limit_seconds

    def settings(self) -> AccessLogReceiverSettings:
        """As the receiver takes them."""
        return AccessLogReceiverSettings(host=self.host, port=self.port)


class ObservabilitySection(Section):
    """What people and gateways are told of decisions."""

    log_format: Literal["text", "json"] = "text"
    emit_endpoint_scores: bool = False
    remembered_picks: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    explained_per_second: Positive = 10.0


class TracingSection(Section):
    """OpenTelemetry spans (see router.tracing)."""

    otlp_endpoint: Name
    service_name: Name = "headrace"
    only_sampled: bool = True


def metering_settings(
    section: MeteringSection, access_log: AccessLogSection | None, *, fresh_seconds: float
) -> MeteringSettings:
    """As the metering takes them."""
    limit_seconds = (access_log or AccessLogSection()).wait_limit_seconds
    return MeteringSettings(
        meter=MeterSettings(
            fresh_seconds=fresh_seconds,
            model_watts=section.model_watts,
            share_with_others=section.share_with_others,
        ),
        access_record_path=section.access_record_path,
        max_tenants=section.max_tenants,
        embodied_grams_per_replica_hour=section.embodied_grams_per_replica_hour,
        awaits_access_log=access_log is not None,
        completion_limit_seconds=limit_seconds,
    )
