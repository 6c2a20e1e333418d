"""One simulated replica as a process would be: it starts, stops, dies, hangs and lies.

The life cycle of the server in `loadtest.vllm_routes`, with the hooks that fault tests pull.
"""

from collections.abc import Callable

from aiohttp import web

from loadtest.exposition import MetricsFault
from loadtest.replica import Replica, ReplicaTotals
from loadtest.simulated_clock import SimulatedClock
from loadtest.truth import Truth
from loadtest.vllm_metrics import VllmMetrics
from loadtest.vllm_routes import ServerSettings, VllmRoutes


class VllmServer:
    """One replica on the network, with hooks to break it.

    Attributes:
        settings: As given.
        replica: The engine behind it.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        truth: Truth,
        clock: SimulatedClock,
        epoch_seconds: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._killed = False
        self._port = settings.port
        self._runner: web.AppRunner | None = None
        self.replica = Replica(
            truth=truth,
            limits=settings.limits,
            clock=clock,
            metrics=self._new_metrics(),
            stream_interval_tokens=settings.stream_interval,
        )
        self._routes = VllmRoutes(settings, self.replica, epoch_seconds=epoch_seconds)

    @property
    def address(self) -> str:
        """host:port it listens on, or will listen on again.

        Raises:
            RuntimeError: Before the first start, when the port is not known yet.
        """
        if not self._port:
            raise RuntimeError("a replica with port 0 has no address before it is started")
        return f"{self.settings.host}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    @property
    def metrics_fault(self) -> MetricsFault | None:
        """In which way the gauges and counters of /metrics are wrong; None when they are right."""
        return self._routes.metrics_fault

    @metrics_fault.setter
    def metrics_fault(self, fault: MetricsFault | None) -> None:
        self._routes.metrics_fault = fault

    def totals(self) -> ReplicaTotals:
        """Ground truth of the board since it was powered, over all restarts."""
        return self.replica.totals()

    async def start(self) -> None:
        """Listen. After `kill` this is a restart: empty cache, counters from zero, same port.

        Raises:
            OSError: When the port is taken.
        """
        if self._runner is not None:
            return
        if self._killed:
            self.replica.restart(self._new_metrics())
            self._killed = False
        runner = web.AppRunner(
            self._routes.application(),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=1.0,
        )
        await runner.setup()
        site = web.TCPSite(runner, self.settings.host, self._port, reuse_address=True)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._port = _bound_port(runner)
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening and cut what is under way. The board idles on."""
        await self._disconnect()

    async def kill(self) -> None:
        """Die as a killed process does: connections reset, work lost, board without a context."""
        if not self._killed:
            self._killed = True
            self.replica.halt()
        await self._disconnect()

    def wedge(self) -> None:
        """Hang: connections are accepted, nothing is answered, streams stand still."""
        self._routes.hang()
        self.replica.freeze()

    def unwedge(self) -> None:
        """Answer what has piled up, and go on."""
        self._routes.answer()
        self.replica.thaw()

    async def _disconnect(self) -> None:
        runner, self._runner = self._runner, None
        self._routes.answer()
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        server = runner.server
        for connection in list(server.connections) if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    def _new_metrics(self) -> VllmMetrics:
        return VllmMetrics(
            model_name=self.settings.models[0],
            max_model_len=self.settings.max_model_len,
            max_lora=len(self.settings.adapters),
        )


def _bound_port(runner: web.AppRunner) -> int:
    address: tuple[str, int] = runner.addresses[0]
    return address[1]
