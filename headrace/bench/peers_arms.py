"""The arms of `headrace bench peers`: running processes with one HTTP listener each.

Those of our own are here, the rivals in `headrace.bench.peers_start`.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.bench.extproc_generator import Generator, LoadError
from headrace.bench.lanes import bootstrap, passed_by
from headrace.bench.peers_figures import DIRECT, ENVOY, HEADRACE, Sample
from headrace.bench.process_tree import tree_cpu_seconds, tree_peak_bytes
from headrace.bench.router_process import start_router
from headrace.child_process import end
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess

_STOP_SECONDS = 5.0
# A second is the interval that a router has by default.
_SCRAPE_SECONDS = 1.0


class ArmError(RuntimeError):
    """An arm does not serve any more, or does not serve what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm that runs.

    Attributes:
        address: Of its listener.
        roots: Its processes, each counted with its children; none: nothing between client and
            upstream.
        envoy: Whose filter must not be passed by, if that is an arm with ext_proc.
    """

    name: str
    address: tuple[str, int]
    roots: tuple[int, ...] = ()
    envoy: EnvoyProcess | None = None

    async def measure(
        self, generator: Generator, *, body_bytes: int, concurrency: int, seconds: float
    ) -> Sample:
        """Load it for `seconds`.

        Raises:
            ArmError: When it ends, or the load does not come to its end.
        """
        before_seconds = self._cpu_seconds()
        try:
            found = await generator.load(
                self.address, body_bytes=body_bytes, connections=concurrency, seconds=seconds
            )
        except LoadError as error:
            raise ArmError(str(error)) from error
        used_seconds = self._cpu_seconds() - before_seconds
        requests = int(found["requests"])
        await self._require_all_asked()
        return Sample(
            requests_per_second=requests / found["elapsed_seconds"],
            failed_requests=int(found["failed_requests"]),
            cpu_seconds=used_seconds / requests if self.roots and requests else None,
            latency_p50_seconds=found["latency_p50_seconds"] if requests else None,
            latency_p99_seconds=found["latency_p99_seconds"] if requests else None,
            load_cpu_ratio=found["own_cpu_ratio"],
        )

    def peak_bytes(self) -> int | None:
        """The most memory held so far, all processes added up; None without any.

        Raises:
            ArmError: When it has ended.
        """
        try:
            return tree_peak_bytes(self.roots) if self.roots else None
        except ProcessLookupError as error:
            raise ArmError(f"{self.name} ended while it was measured.") from error

    def _cpu_seconds(self) -> float:
        try:
            return tree_cpu_seconds(self.roots)
        except ProcessLookupError as error:
            raise ArmError(f"{self.name} ended while it was measured.") from error

    async def _require_all_asked(self) -> None:
        """Requests that pass by the router would make it look cheap."""
        if self.envoy is not None and (passed := await passed_by(self.envoy)):
            raise ArmError(f"{passed} requests passed by the router of {self.name}.")


def direct(addresses: Sequence[str]) -> Arm:
    """The first upstream itself."""
    host, _, port = addresses[0].rpartition(":")
    return Arm(name=DIRECT, address=(host, int(port)))


@contextlib.asynccontextmanager
async def envoy_alone(addresses: Sequence[str], folder: Path) -> AsyncIterator[Arm]:
    """Envoy without ext_proc, one worker thread.

    Raises:
        ChildStartError: When it does not come up.
    """
    rendered = bootstrap(addresses, (), EnvoyBodyMode.BUFFERED)
    log_path = folder / "envoy-alone.log"
    async with EnvoyProcess(rendered, EnvoyOptions(log_path=log_path)) as envoy:
        yield Arm(name=ENVOY, address=envoy.listener_address(), roots=(envoy.pid,))


@contextlib.asynccontextmanager
async def headrace(addresses: Sequence[str], folder: Path) -> AsyncIterator[Arm]:
    """Envoy with Headrace's router, one worker thread and one process.

    Raises:
        ChildStartError: When either does not come up.
    """
    home = folder / HEADRACE
    home.mkdir()
    router = await start_router(home, addresses, scrape_seconds=_SCRAPE_SECONDS)
    try:
        rendered = bootstrap(addresses, router.targets, EnvoyBodyMode.BUFFERED)
        async with EnvoyProcess(rendered, EnvoyOptions(log_path=home / "envoy.log")) as envoy:
            yield Arm(
                name=HEADRACE,
                address=envoy.listener_address(),
                roots=(envoy.pid, router.process.pid),
                envoy=envoy,
            )
    finally:
        await end(router.process, grace_seconds=_STOP_SECONDS)
