"""The `capper` section of the serve file: whether, where and how power is capped."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, Field, model_validator

from headrace.ext_proc_file import Port
from headrace.fleet_file import Name, Positive, Section
from router.extproc.tls import TlsSettings


class CapperClusterSection(Section):
    """Configurations of a cluster (see capper.operator.cluster.ClusterSettings)."""

    kubeconfig: Path | None = None
    namespaces: tuple[Name, ...] = ()
    lease_namespace: Name = "default"
    lease_name: Name = "headrace-capper"
    lease_seconds: Annotated[float, Field(ge=3, allow_inf_nan=False)] = 15.0


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
    sleep: Literal["none", "http", "https"] = "none"
    external_scaler: ExternalScalerSection | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.configs) == (self.kubernetes is not None):
            raise ValueError("give configs or a kubernetes section, one of them")
        return self

    def beside(self, folder: Path) -> "CapperSection":
        """With its files' paths taken from `folder`, that of the serve file."""
        return self.model_copy(update={"configs": tuple(folder / one for one in self.configs)})
