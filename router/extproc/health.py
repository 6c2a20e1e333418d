"""Whether the router may be sent requests, told over gRPC's health protocol.

Names as the pickers of the Gateway API Inference Extension use them: `liveness` holds while the
process answers; `readiness`, the empty name and the ext_proc service hold while a snapshot has been
published and the router is not draining. Of any other name a check fails with NOT_FOUND and a watch
tells SERVICE_UNKNOWN, as gRPC's protocol has it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
from grpc_health.v1 import health_pb2

from fleet.snapshot import SnapshotHolder
from router.extproc.listening import listen

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
LIVENESS = "liveness"
# The last is what the Inference Extension's own charts have probed for.
_READINESS_NAMES = frozenset({"", "readiness", EXT_PROC_SERVICE, "inference-extension"})

_STATUS = health_pb2.HealthCheckResponse
_WATCH_INTERVAL_SECONDS = 0.5


class Readiness:
    """The one answer to "may requests come?", shared by gRPC health and the admin port.

    Attributes:
        remark: One sentence on what is degraded though requests may come, or None.
    """

    def __init__(self, snapshots: SnapshotHolder) -> None:
        """Watch `snapshots`; its first holds only the topology and has version 0."""
        self._snapshots = snapshots
        self._draining = asyncio.Event()
        self.remark: Callable[[], str | None] = lambda: None

    @property
    def draining(self) -> bool:
        """Whether the router is on its way out."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Refuse from now on; there is no way back."""
        self._draining.set()

    def why_not(self) -> str | None:
        """One sentence when requests should not come, else None."""
        if self.draining:
            return "The router is draining."
        if self._snapshots.current.version == 0:
            return "No snapshot of the fleet has been published yet."
        return None

    async def changed(self, *, timeout_seconds: float) -> None:
        """Return when draining begins, or at the latest after the timeout."""
        try:
            await asyncio.wait_for(self._draining.wait(), timeout_seconds)
        except TimeoutError:
            return


def health_handler(readiness: Readiness) -> grpc.GenericRpcHandler:
    """The grpc.health.v1.Health service for a server."""

    async def check(
        request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        status = _status(request.service, readiness)
        if status == _STATUS.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _STATUS(status=status)

    async def watch(
        request: health_pb2.HealthCheckRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        told: int | None = None
        while True:
            status = _status(request.service, readiness)
            if status != told:
                yield _STATUS(status=status)
                told = status
            await _pause(readiness)

    codec = {
        "request_deserializer": health_pb2.HealthCheckRequest.FromString,
        "response_serializer": _STATUS.SerializeToString,
    }
    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {
            "Check": grpc.unary_unary_rpc_method_handler(check, **codec),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, **codec),
        },
    )


class HealthServer:
    """gRPC health alone, plain text, as the probes of Kubernetes want it.

    Attributes:
        port: The port listened on once started, or None.
    """

    def __init__(self, readiness: Readiness, *, host: str, port: int | None) -> None:
        """Prepare; without a port there is none."""
        self._address = host, port
        self._readiness = readiness
        self._server: grpc.aio.Server | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: When the address is not to be had.
        """
        host, port = self._address
        if port is None:
            return
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((health_handler(self._readiness),))
        self.port = listen(self._server, host, port)
        await self._server.start()

    async def stop(self) -> None:
        """Close."""
        if self._server is not None:
            await self._server.stop(None)


async def _pause(readiness: Readiness) -> None:
    """Wait for the next look: at once when draining begins, rarely once it has."""
    if readiness.draining:
        await asyncio.sleep(_WATCH_INTERVAL_SECONDS)
    else:
        await readiness.changed(timeout_seconds=_WATCH_INTERVAL_SECONDS)


def _status(service: str, readiness: Readiness) -> int:
    status: int
    if service == LIVENESS:
        status = _STATUS.SERVING
    elif service not in _READINESS_NAMES:
        status = _STATUS.SERVICE_UNKNOWN
    else:
        status = _STATUS.SERVING if readiness.why_not() is None else _STATUS.NOT_SERVING
    return status
