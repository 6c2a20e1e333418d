"""A receiver of Envoy's gRPC access logs: ends of requests where stream end does not tell them."""

import logging
from dataclasses import dataclass
from typing import Protocol

import grpc
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from fleet.clock import Clock
from router.extproc.listening import target_of
from router.metering.completions import LogEntry

_log = logging.getLogger(__name__)

ACCESS_LOG_SERVICE = "envoy.service.accesslog.v3.AccessLogService"
_FAREWELL_SECONDS = 1.0
_MAX_MESSAGE_BYTES = 16 * 2**20  # Envoy batches up to 16 KiB by default


class AccessLogListenError(Exception):
    """The receiver cannot listen where it was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogReceiverSettings:
    """Settings of the receiver.

    Attributes:
        host: Address to listen on; loopback until opened on purpose, since the protocol has no
            authentication and an entry ends a request in the ledger.
        port: 0 for any free one.
    """

    host: str = "127.0.0.1"
    port: int = 0


class Completer(Protocol):
    """Takes the entries, as router.metering.completions.Completions does."""

    def logged(self, entry: LogEntry, *, now_seconds: float) -> bool:
        """An entry came; whether it ended a request."""
        ...


class AccessLogReceiver:
    """Serves StreamAccessLogs. Start once, stop once.

    Attributes:
        port: The port listened on once started, or None.
        entries: HTTP entries received.
    """

    def __init__(
        self, settings: AccessLogReceiverSettings, completions: Completer, clock: Clock
    ) -> None:
        """Prepare; nothing is opened before `start`."""
        self._settings = settings
        self._completions = completions
        self._clock = clock
        self._server: grpc.aio.Server | None = None
        self.port: int | None = None
        self.entries = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            AccessLogListenError: When the address is not to be had.
        """
        host = self._settings.host
        target = target_of(host, self._settings.port)
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ]
        )
        server.add_generic_rpc_handlers((self._handler(),))
        try:
            self.port = server.add_insecure_port(target)
        except RuntimeError as error:
            raise AccessLogListenError(
                f"access_log: cannot listen on {target}: in use, or not ours to bind."
            ) from error
        await server.start()
        self._server = server
        _log.info("access logs are taken on %s:%d", host, self.port)

    async def stop(self) -> None:
        """Close; what comes later is the proxy's to drop."""
        if self._server is not None:
            await self._server.stop(_FAREWELL_SECONDS)
            self._server = None

    def _handler(self) -> grpc.GenericRpcHandler:
        method = grpc.stream_unary_rpc_method_handler(
            self._receive,
            request_deserializer=StreamAccessLogsMessage.FromString,
            response_serializer=StreamAccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            ACCESS_LOG_SERVICE, {"StreamAccessLogs": method}
        )

    async def _receive(
        self, _requests: object, context: grpc.aio.ServicerContext
    ) -> StreamAccessLogsResponse:
        while (message := await context.read()) is not grpc.aio.EOF:
            for logged in message.http_logs.log_entry:
                entry = log_entry(logged)
                self.entries += 1
                if entry is not None:
                    self._completions.logged(entry, now_seconds=self._clock.monotonic_seconds())
        return StreamAccessLogsResponse()


def log_entry(logged: HTTPAccessLogEntry) -> LogEntry | None:
    """Read an entry; None when it is not the end of a request or names no request."""
    common, request_id = logged.common_properties, logged.request.request_id
    if common.intermediate_log_entry or not request_id:
        return None
    response = logged.response
    ttfb = common.time_to_first_upstream_rx_byte
    return LogEntry(
        request_id=request_id,
        status=response.response_code.value if response.HasField("response_code") else None,
        upstream_address=_address(common.upstream_remote_address.socket_address),
        ttfb_seconds=(
            ttfb.seconds + ttfb.nanos * 1e-9
            if common.HasField("time_to_first_upstream_rx_byte")
            else None
        ),
    )


def _address(socket_address: object) -> str | None:
    """As "ip:port", IPv6 in brackets; None when there was no upstream."""
    host = getattr(socket_address, "address", "")
    port = getattr(socket_address, "port_value", 0)
    if not host or not port:
        return None
    return target_of(host, port)
