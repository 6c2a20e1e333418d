"""Whether the router as a whole may be sent requests: as long as one worker takes them."""

import grpc

from fleet.snapshot import SnapshotHolder
from headrace.workers.crew import Crew
from router.extproc.health import Readiness, health_handler
from router.extproc.server import ListenError


class CrewReadiness(Readiness):
    """The parent's answer to "may requests come?"."""

    def __init__(self, snapshots: SnapshotHolder, crew: Crew) -> None:
        """Ask `crew`."""
        super().__init__(snapshots)
        self._crew = crew

    def why_not(self) -> str | None:
        """One sentence when requests should not come, else None."""
        reason = super().why_not()
        if reason is None and not self._crew.ready:
            return "No worker takes requests."
        return reason


class HealthServer:
    """gRPC health alone, plain text, as the probes of Kubernetes want it."""

    def __init__(self, readiness: Readiness, *, host: str, port: int) -> None:
        """Prepare."""
        self._readiness = readiness
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: When the address is not to be had.
        """
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((health_handler(self._readiness),))
        try:
            server.add_insecure_port(self._target)
        except RuntimeError as error:
            raise ListenError(
                f"ext_proc: cannot listen on {self._target}: in use, or not ours to bind."
            ) from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Close."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
