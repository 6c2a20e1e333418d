"""The file of `headrace agent`."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from capper.clocks.keeper import KeeperSettings
from capper.clocks.ramp import Ramp
from headrace.agent_access import stays_here
from headrace.config_errors import load_model
from headrace.ext_proc_file import Port
from headrace.fleet_file import Name, Positive, Section
from router.extproc.tls import TlsSettings

_RAMP, _KEEPER = Ramp(), KeeperSettings()


class ServerTlsSection(Section):
    """The agent's certificate, and who may call."""

    folder: Path
    client_ca_file: Path
    clients: Annotated[tuple[Name, ...], Field(min_length=1)] = ("headrace-capper",)

    def settings(self) -> TlsSettings:
        """As the gRPC server takes them."""
        return TlsSettings(folder=self.folder, client_ca_file=self.client_ca_file)


class ListenSection(Section):
    """Where cappers call."""

    host: str = "127.0.0.1"
    port: Port = 9444
    socket: Path | None = None
    tls: ServerTlsSection | None = None

    @model_validator(mode="after")
    def _is_encrypted_beyond_this_machine(self) -> Self:
        if self.tls is None and self.socket is None and not stays_here(f"{self.host}:0"):
            raise ValueError(f"tls is required where host is not loopback, got {self.host!r}")
        return self

    @property
    def address(self) -> str:
        """As gRPC writes it."""
        if self.socket is not None:
            return f"unix://{self.socket.absolute()}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MetricsSection(Section):
    """Where Prometheus asks."""

    host: str = "127.0.0.1"
    port: Port = 9445


class RampSection(Section):
    """Pace of clocks (see capper.clocks.ramp.Ramp)."""

    up_seconds: Positive = _RAMP.up_seconds
    up_ratio: Annotated[float, Field(gt=0, le=1)] = _RAMP.up_ratio
    down_seconds: Annotated[float, Field(ge=0, le=10)] = _RAMP.down_seconds


class AgentSection(Section):
    """A whole agent file."""

    node: Name | None = None
    record_folder: Path = Path("/var/lib/headrace/clocks")
    listen: ListenSection = ListenSection()
    metrics: MetricsSection = MetricsSection()
    kubelet_socket: Path | None = None
    owners: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    shared_boards: tuple[Name, ...] = ()
    max_lease_seconds: Positive = 86_400.0
    beat_seconds: Annotated[float, Field(gt=0, le=10)] = 1.0
    read_back_seconds: Annotated[float, Field(ge=0, le=10)] = _KEEPER.read_back_seconds
    ramp: RampSection = RampSection()

    @model_validator(mode="after")
    def _knows_owners(self) -> Self:
        if self.kubelet_socket is None and not self.owners:
            raise ValueError("give kubelet_socket, or owners: whose are the boards?")
        return self

    def keeper_settings(self) -> KeeperSettings:
        """As the keeper takes them."""
        ramp = Ramp(**self.ramp.model_dump())
        return KeeperSettings(ramp=ramp, read_back_seconds=self.read_back_seconds)

    def ownership(self) -> dict[str, frozenset[str]]:
        """The declared owners by board."""
        found: dict[str, set[str]] = {}
        for owner, uuids in self.owners.items():
            for uuid in uuids:
                found.setdefault(uuid, set()).add(owner)
        return {uuid: frozenset(owners) for uuid, owners in found.items()}


def load_agent(path: Path) -> AgentSection:
    """Read an agent file; its paths are taken from its folder.

    Raises:
        BadInputError: With every problem in it.
    """
    section, folder = load_model(path, AgentSection), path.parent
    listen = section.listen
    if listen.tls is not None:
        tls = listen.tls.model_copy(
            update={
                "folder": folder / listen.tls.folder,
                "client_ca_file": folder / listen.tls.client_ca_file,
            }
        )
        listen = listen.model_copy(update={"tls": tls})
    return section.model_copy(
        update={"listen": listen, "record_folder": folder / section.record_folder}
    )
