"""How cappers and tuning runs reach the clock agents: addresses and certificates."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import grpc
from pydantic import Field, model_validator

from fleet.clock import Clock
from fleet.topology import Fleet
from headrace.fleet_file import Name, Positive, Section

if TYPE_CHECKING:
    from capper.clocks.clock_board import ClockedFleet
    from capper.clocks.gpu_locks import GpuLocks
    from capper.clocks.pool import AgentPool

AgentAddress = Annotated[str, Field(pattern=r"^(unix:///.+|.+:[0-9]{1,5})$")]
_CERTIFICATE, _KEY, _AUTHORITY = "tls.crt", "tls.key", "ca.crt"


class AgentTlsSection(Section):
    """Certificate and key of the caller, and who signs the agents'."""

    folder: Path
    server_name: Name = "headrace-agent"


class AgentAccessSection(Section):
    """Where the agents are (see capper.clocks.pool.AgentPool)."""

    agents: Annotated[tuple[AgentAddress, ...], Field(min_length=1)]
    timeout_seconds: Positive = 1.0
    tls: AgentTlsSection | None = None

    @model_validator(mode="after")
    def _is_encrypted_beyond_this_machine(self) -> Self:
        if self.tls is None:
            for address in self.agents:
                if not stays_here(address):
                    raise ValueError(f"tls is required for {address}, which is not this machine")
        return self

    def beside(self, folder: Path) -> "AgentAccessSection":
        """With its files' paths taken from `folder`."""
        if self.tls is None:
            return self
        tls = self.tls.model_copy(update={"folder": folder / self.tls.folder})
        return self.model_copy(update={"tls": tls})

    def pool(self, clock: Clock) -> "AgentPool":
        """The agents behind the addresses."""
        # The section is part of every serve file, the capper is not part of every process.
        from capper.clocks.pool import AgentPool  # noqa: PLC0415 - see above

        return AgentPool(
            self.agents,
            clock,
            credentials=_plain if self.tls is None else _FileCredentials(self.tls.folder),
            server_name="" if self.tls is None else self.tls.server_name,
            timeout_seconds=self.timeout_seconds,
        )

    def locks(
        self, fleet: Callable[[], Fleet], clocked: "ClockedFleet", clock: Clock
    ) -> "GpuLocks":
        """The capper's hand on the boards of `fleet`."""
        from capper.clocks.gpu_locks import GpuLocks  # noqa: PLC0415 - as in pool()

        return GpuLocks(self.pool(clock), fleet, clocked, clock)


def stays_here(address: str) -> bool:
    """Whether nobody but this machine can be meant."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain() -> tuple[object, grpc.ChannelCredentials | None]:
    return None, None


class _FileCredentials:
    """Credentials from a folder, read again when its files change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: tuple[object, grpc.ChannelCredentials] | None = None

    def __call__(self) -> tuple[object, grpc.ChannelCredentials]:
        paths = [self._folder / name for name in (_AUTHORITY, _KEY, _CERTIFICATE)]
        stats = [path.stat() for path in paths]
        version = tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in stats)
        if self._known is None or self._known[0] != version:
            authority, key, chain = (path.read_bytes() for path in paths)
            credentials = grpc.ssl_channel_credentials(authority, key, chain)
            self._known = (version, credentials)
        return self._known
