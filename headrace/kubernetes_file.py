"""The `kubernetes` section of the serve file: a fleet that a cluster knows of."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fleet.priors import ACCELERATORS
from headrace.fleet_file import Name, Positive, Section
from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind

_DEFAULTS = KubernetesSettings(targets=())
TargetPort = Annotated[int, Field(ge=1, le=65535)]


class TargetSection(Section):
    """One set of replicas (see telemetry.kubernetes.settings.Target)."""

    kind: TargetKind
    namespace: Name
    name: str = ""
    group: Name = "inference.networking.k8s.io"
    match_labels: dict[str, str] = Field(default_factory=dict)
    ports: Annotated[tuple[TargetPort, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _names_or_selects(self) -> Self:
        if self.kind is TargetKind.SELECTOR:
            if not self.match_labels:
                raise ValueError("match_labels is required for kind Selector")
        elif not self.name:
            raise ValueError(f"name is required for kind {self.kind}")
        elif self.match_labels:
            raise ValueError("match_labels is for kind Selector only")
        return self

    def target(self) -> Target:
        """As the source takes it."""
        return Target(**self.model_dump())


class KubernetesSection(Section):
    """How to find the fleet in a cluster (see KubernetesSettings)."""

    targets: Annotated[tuple[TargetSection, ...], Field(min_length=1)]
    kubeconfig: Path | None = None
    rack_label: Name = _DEFAULTS.rack_label
    default_domain: Name = _DEFAULTS.default_domain
    default_accelerator: Name = _DEFAULTS.default_accelerator
    default_parameters: Positive = _DEFAULTS.default_parameters
    models: tuple[Name, ...] = ()
    models_scheme: Literal["http", "https"] = "http"
    models_interval_seconds: Positive = _DEFAULTS.models_interval_seconds
    resync_seconds: Positive = _DEFAULTS.resync_seconds
    start_timeout_seconds: Positive = _DEFAULTS.start_timeout_seconds

    @field_validator("default_accelerator")
    @classmethod
    def _has_a_prior(cls, value: str) -> str:
        if value not in ACCELERATORS:
            raise ValueError(f"must be one of {', '.join(ACCELERATORS)}, got {value!r}")
        return value

    def settings(self) -> KubernetesSettings:
        """As the source takes them."""
        given = self.model_dump(exclude={"targets", "kubeconfig"})
        return KubernetesSettings(
            targets=tuple(section.target() for section in self.targets),
            kubeconfig=None if self.kubeconfig is None else str(self.kubeconfig),
            **given,
        )
