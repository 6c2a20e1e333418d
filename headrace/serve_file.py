"""The configuration file of `headrace serve`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, ValidationInfo, field_validator, model_validator

from fleet.signals import FreshnessPolicy, SignalKind
from fleet.topology import Fleet
from headrace.admission_file import AdmissionSection
from headrace.affinity_file import AffinitySection
from headrace.capper_file import CapperSection
from headrace.config_errors import load_model
from headrace.ext_proc_file import ExtProcSection, Port
from headrace.fleet_file import Name, NonNegative, Positive, Section, load_fleet
from headrace.kubernetes_file import KubernetesSection
from headrace.metering_file import (
    AccessLogSection,
    MeteringSection,
    ObservabilitySection,
    TracingSection,
    metering_settings,
)
from headrace.worker_targets import MAX_WORKERS
from router.admin import AdminSettings
from router.decide.policies import POLICIES
from router.decide.settings import DecideSettings
from router.extproc.server import ExtProcSettings
from router.metering.metering import MeteringSettings
from telemetry.prometheus_settings import PrometheusSettings
from telemetry.queries import QuerySet, default_queries
from telemetry.scrape import ScrapeSettings

Ratio = Annotated[float, Field(gt=0, le=1)]
Workers = Annotated[int, Field(ge=1, le=MAX_WORKERS)]
_DEFAULTS = DecideSettings()


class AdminSection(Section):
    """The admin port (see router.admin.AdminSettings)."""

    host: str = "127.0.0.1"
    port: Port = 9090


class RouterSection(Section):
    """The decision (see router.decide.settings.DecideSettings)."""

    policy: str = _DEFAULTS.policy
    kv_limit_ratio: Ratio = _DEFAULTS.kv_limit_ratio
    swing_deviations: NonNegative = _DEFAULTS.swing_deviations
    burst_life_ratio: Ratio = _DEFAULTS.burst_life_ratio
    default_output_tokens: Positive = _DEFAULTS.default_output_tokens
    default_bytes_per_token: Positive = _DEFAULTS.default_bytes_per_token
    rate_window_seconds: Positive = _DEFAULTS.rate_window_seconds
    length_window_seconds: Positive = _DEFAULTS.length_window_seconds
    reserve_deviations: NonNegative = _DEFAULTS.reserve_deviations
    commit_gain_ratio: Annotated[float, Field(ge=0, lt=1)] = _DEFAULTS.commit_gain_ratio
    commit_dwell_seconds: NonNegative = _DEFAULTS.commit_dwell_seconds
    retry_after_seconds: Positive = _DEFAULTS.retry_after_seconds
    max_endpoints: Annotated[int, Field(ge=1, le=16)] = _DEFAULTS.max_endpoints
    stall_chance: Annotated[float, Field(ge=0, lt=1)] = _DEFAULTS.stall_chance
    stall_min_seconds: Positive = _DEFAULTS.stall_min_seconds

    @model_validator(mode="after")
    def _policy_exists(self) -> Self:
        if self.policy not in POLICIES:
            raise ValueError(
                f"policy must be one of {', '.join(sorted(POLICIES))}, got {self.policy!r}"
            )
        return self


class FreshnessSection(Section):
    """When a signal stops counting (see fleet.signals.FreshnessPolicy)."""

    fresh_seconds: Positive = FreshnessPolicy().fresh_seconds
    absent_seconds: Positive = FreshnessPolicy().absent_seconds

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fresh_seconds > self.absent_seconds:
            raise ValueError("fresh_seconds <= absent_seconds must hold")
        return self


class ScrapeSection(Section):
    """Direct scrape of replicas and exporters (see telemetry.scrape.ScrapeSettings)."""

    interval_seconds: Positive = 1.0
    timeout_seconds: Positive = 1.0
    silent_seconds: Positive = 5.0
    metrics_path: Annotated[str, Field(pattern="^/")] = "/metrics"
    scheme: Literal["http", "https"] = "http"
    exporter_urls: tuple[AnyHttpUrl, ...] = ()


class PrometheusSection(Section):
    """Prometheus as a source (see telemetry.prometheus_settings.PrometheusSettings).

    `queries` replaces the default PromQL of a signal, the most trusted text first; an empty list
    removes the signal.
    """

    url: AnyHttpUrl
    interval_seconds: Positive = 1.0
    timeout_seconds: Positive = 2.0
    matchers: str = ""
    queries: dict[SignalKind, tuple[Name, ...]] = Field(default_factory=dict)

    def query_set(self) -> QuerySet:
        """The default queries with the given ones in their places."""
        queries = default_queries(self.matchers)
        for kind, selectors in self.queries.items():
            queries = queries.overridden(kind, *selectors)
        return queries

    def settings(self) -> PrometheusSettings:
        """As the source takes them; answers are shared for a little less than an interval."""
        return PrometheusSettings(
            url=str(self.url).rstrip("/"),
            timeout_seconds=self.timeout_seconds,
            cache_seconds=0.8 * self.interval_seconds,
        )


class TelemetrySection(Section):
    """Where snapshots come from; both sources may be on, the freshest reading wins."""

    scrape: ScrapeSection | None = ScrapeSection()
    prometheus: PrometheusSection | None = None


class ServeSection(Section):
    """A whole `headrace serve` file."""

    kubernetes: KubernetesSection | None = None
    fleet: Annotated[Path | None, Field(validate_default=True)] = None
    ext_proc: ExtProcSection
    workers: Workers = 1
    admin: AdminSection = AdminSection()
    router: RouterSection = RouterSection()
    admission: AdmissionSection = AdmissionSection()
    affinity: AffinitySection = AffinitySection()
    freshness: FreshnessSection = FreshnessSection()
    telemetry: TelemetrySection = TelemetrySection()
    metering: MeteringSection = MeteringSection()
    observability: ObservabilitySection = ObservabilitySection()
    access_log: AccessLogSection | None = None
    tracing: TracingSection | None = None
    capper: CapperSection | None = None

    @model_validator(mode="after")
    def _ports_are_there(self) -> Self:
        problem = self.ext_proc.ports_problem(self.workers)
        if problem is not None:
            raise ValueError(problem)
        return self

    @field_validator("fleet")
    @classmethod
    def _has_one_fleet(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "kubernetes" in info.data and (value is None) == (info.data["kubernetes"] is None):
            if value is None:
                raise ValueError("is required unless there is a kubernetes section")
            raise ValueError("must not be given beside a kubernetes section")
        return value

    def metering_settings(self) -> MeteringSettings:
        """As the metering takes them."""
        return metering_settings(
            self.metering, self.access_log, fresh_seconds=self.freshness.fresh_seconds
        )

    def freshness_policy(self) -> FreshnessPolicy:
        """As the deciders take it."""
        return FreshnessPolicy(**self.freshness.model_dump())

    def decide_settings(self) -> DecideSettings:
        """As the picker takes them."""
        return DecideSettings(
            **self.router.model_dump(),
            **self.affinity.decide_fields(),
            freshness=self.freshness_policy(),
            hold_when_full=self.admission.max_waiting_requests > 0,
        )

    def ext_proc_settings(self) -> ExtProcSettings:
        """As the gRPC server takes them."""
        return self.ext_proc.settings()

    def admin_settings(self) -> AdminSettings:
        """As the admin server takes them."""
        return AdminSettings(**self.admin.model_dump())

    def scrape_settings(self, section: ScrapeSection) -> ScrapeSettings:
        """As the scrape source takes them."""
        return ScrapeSettings(
            metrics_path=section.metrics_path,
            scheme=section.scheme,
            timeout_seconds=section.timeout_seconds,
            silent_seconds=section.silent_seconds,
            exporter_urls=tuple(str(url) for url in section.exporter_urls),
        )


def load_serve(path: Path) -> tuple[ServeSection, Fleet]:
    """Read a serve file and the fleet file it names (relative to itself).

    The fleet of a cluster is empty here: its source finds it.

    Raises:
        BadInputError: With every problem of the first of the two files that has any.
    """
    section = load_model(path, ServeSection)
    if section.capper is not None:
        section = section.model_copy(update={"capper": section.capper.beside(path.parent)})
    if section.fleet is None:
        return section, Fleet(())
    return section, load_fleet(path.parent / section.fleet)
