"""The `capper` section of the serve file: whether, where and how power is capped."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, model_validator

from headrace.agent_access import AgentAccessSection
from headrace.config_errors import BadInputError
from headrace.ext_proc_file import Port
from headrace.fleet_file import Name, Positive, Section
from router.extproc.tls import TlsSettings

if TYPE_CHECKING:
    from headrace.capping_inputs import PrometheusAccess

_OWN_NAMESPACE = "NAMESPACE"  # as the manifests and `headrace epp` have it


class CapperClusterSection(Section):
    """Configurations of a cluster (see capper.operator.cluster.ClusterSettings)."""

    kubeconfig: Path | None = None
    namespaces: tuple[Name, ...] | None = None
    lease_namespace: Name | None = None
    lease_name: Name = "headrace-capper"
    lease_seconds: Annotated[float, Field(ge=3, allow_inf_nan=False)] = 15.0

    def followed_in(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Whose configurations are followed; empty: all. Unsaid: those of the pod's namespace."""
        if self.namespaces is not None:
            return self.namespaces
        own = environ.get(_OWN_NAMESPACE)
        return (own,) if own else ()

    def lease_in(self, environ: Mapping[str, str]) -> str:
        """Where the lease lies. Unsaid: in the pod's namespace."""
        return self.lease_namespace or environ.get(_OWN_NAMESPACE) or "default"


class CapperPrometheusSection(Section):
    """How Prometheus is asked for watts (see capper.observe.observer.PrometheusObserver)."""

    timeout_seconds: Positive = 3.0
    headers: dict[Name, str] = Field(default_factory=dict)
    token_file: Path | None = None
    ca_file: Path | None = None
    host_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0

    def settings(self, url: str | None, *, patience_seconds: float) -> "PrometheusAccess":
        """As the observer takes them; the token is read now.

        Args:
            url: `prometheus_url`.
            patience_seconds: No answer is waited for longer.

        Raises:
            BadInputError: A file cannot be read.
        """
        # The section is part of every serve file, the capper is not part of every process.
        from headrace.capping_inputs import PrometheusAccess  # noqa: PLC0415 - see above

        headers = dict(self.headers)
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {_read('token_file', self.token_file).strip()}"
        if self.ca_file is not None:
            _read("ca_file", self.ca_file)
        return PrometheusAccess(
            url=url,
            timeout_seconds=min(self.timeout_seconds, patience_seconds),
            headers=headers,
            ca_file=None if self.ca_file is None else str(self.ca_file),
            host_ratio=self.host_ratio,
        )

    def beside(self, folder: Path) -> "CapperPrometheusSection":
        """With its files' paths taken from `folder`."""
        files = {"token_file": self.token_file, "ca_file": self.ca_file}
        return self.model_copy(
            update={name: None if one is None else folder / one for name, one in files.items()}
        )


def _read(field: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        message = f"capper.prometheus.{field}: {path} cannot be read: {reason}."
        raise BadInputError(message) from error


class ExternalScalerSection(Section):
    """Where KEDA's external scaler listens."""

    host: str = "127.0.0.1"
    port: Port = 9443
    secure_serving: bool = False
    cert_path: Path | None = None
    cert_reload: bool = True
    client_ca_file: Path | None = None

    @model_validator(mode="after")
    def _secures_what_it_has(self) -> Self:
        if not self.secure_serving and (self.cert_path or self.client_ca_file):
            raise ValueError("cert_path and client_ca_file need secure_serving: true")
        return self

    def tls(self) -> TlsSettings | None:
        """How the port is secured; None: not at all."""
        if not self.secure_serving:
            return None
        return TlsSettings(
            folder=self.cert_path, reload=self.cert_reload, client_ca_file=self.client_ca_file
        )


class CapperSection(Section):
    """The capping loop (see capper.loop.LoopSettings)."""

    configs: tuple[Path, ...] = ()
    kubernetes: CapperClusterSection | None = None
    period_seconds: Positive = 5.0
    observe_timeout_seconds: Positive = 5.0
    status_seconds: Positive = 60.0
    prometheus_url: AnyHttpUrl | None = None
    prometheus: CapperPrometheusSection = CapperPrometheusSection()
    sleep: Literal["none", "http", "https"] = "none"
    external_scaler: ExternalScalerSection | None = None
    gpu_clocks: AgentAccessSection | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.configs) == (self.kubernetes is not None):
            raise ValueError("give configs or a kubernetes section, one of them")
        return self

    def beside(self, folder: Path) -> "CapperSection":
        """With its files' paths taken from `folder`, that of the serve file."""
        return self.model_copy(
            update={
                "configs": tuple(folder / one for one in self.configs),
                "prometheus": self.prometheus.beside(folder),
                "gpu_clocks": None if self.gpu_clocks is None else self.gpu_clocks.beside(folder),
            }
        )
