"""The gRPC server: where it listens, its limits, its health and its way out."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from fleet.clock import Clock
from router.extproc.decider import Decider
from router.extproc.events import BodyMode
from router.extproc.exchange import NO_OBSERVER, ExchangeObserver
from router.extproc.health import HealthServer, Readiness, health_handler
from router.extproc.listening import ListenError, bind, free_socket_path, listen, target_of
from router.extproc.scheduling import batch_threads
from router.extproc.servicer import ExtProcServicer
from router.extproc.session_settings import Alias, SessionSettings, same_model
from router.extproc.tls import CertificateError, Certificates, TlsSettings
from router.metrics import RouterMetrics

_log = logging.getLogger(__name__)

_MEBIBYTE = 2**20
_HEADERS_SLACK_BYTES = 1 * _MEBIBYTE  # Envoy's default limit of headers is 60 KiB
_FAREWELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtProcSettings:
    """Settings of the server.

    Attributes:
        unix_socket: Path to listen on, or None. The cheaper way when Envoy is on this machine.
        host: Address to listen on when `port` is given.
        port: TCP port, 0 for any free one, or None for no TCP.
        tls: How the TCP port is secured, or None for plain text. The socket is always plain.
        health_port: TCP port of a second, plain server for health alone, since the probes of
            Kubernetes speak no TLS; 0 for any free one, None for none.
        unannounced: The body mode of proxies that announce none.
        subset_hints: Whether the gateway may limit the endpoints of a pick.
        reuse_port: Share the port with other worker processes. Off, so that a second router
            started by mistake fails instead of taking half of the streams.
        max_body_bytes: Largest request body; the same as Envoy's limit, which answers 413.
        max_concurrent_streams: Per connection. Envoy keeps one stream per running request and
            few connections, so this is the number of requests in flight and a bound on memory
            (an open stream costs about 25 KB).
        keepalive_seconds: A connection that is silent for this long is probed, so that streams
            of an Envoy that vanished are settled.
        drain_seconds: How long requests in flight may take to finish when the server stops.
    """

    unix_socket: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    tls: TlsSettings | None = None
    health_port: int | None = None
    unannounced: BodyMode = BodyMode.BUFFERED
    subset_hints: bool = True
    reuse_port: bool = False
    max_body_bytes: int = 64 * _MEBIBYTE
    max_concurrent_streams: int = 65_536
    keepalive_seconds: float = 30.0
    drain_seconds: float = 30.0


class ExtProcServer:
    """Serves Envoy. Start once, stop once.

    Attributes:
        port: The TCP port listened on once started, or None.
        certificates: In use on `port` once started, or None.
    """

    def __init__(
        self,
        *,
        decider: Decider,
        clock: Clock,
        settings: ExtProcSettings,
        readiness: Readiness,
        metrics: RouterMetrics,
        draw: Callable[[], float] = random.random,
        observer: ExchangeObserver = NO_OBSERVER,
        alias: Alias = same_model,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            decider: Asked once per request.
            clock: Read once or twice per message.
            settings: Where to listen and with which limits.
            readiness: Told of draining, asked by health checks.
            metrics: Counted in.
            draw: Uniform numbers in [0, 1) for the decider.
            observer: Told of routed requests and their responses.
            alias: The model that a replica is to be asked for when a client names one.
        """
        self._settings = settings
        self._clock = clock
        self._readiness = readiness
        self._servicer = ExtProcServicer(
            decider=decider,
            clock=clock,
            metrics=metrics,
            draw=draw,
            settings=SessionSettings(
                max_body_bytes=settings.max_body_bytes,
                unannounced=settings.unannounced,
                subset_hints=settings.subset_hints,
                alias=alias,
            ),
            observer=observer,
        )
        self._server: grpc.aio.Server | None = None
        self._health = HealthServer(readiness, host=settings.host, port=settings.health_port)
        self.port: int | None = None
        self.certificates: Certificates | None = None

    @property
    def open_streams(self) -> int:
        """Streams that are being served."""
        return self._servicer.open_streams

    @property
    def health_port(self) -> int | None:
        """The port of the server for health alone once started, or None."""
        return self._health.port

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: When nothing to listen on is set, or it is not to be had, or its
                certificate is of no use.
        """
        settings = self._settings
        if settings.unix_socket is None and settings.port is None:
            raise ListenError("ext_proc: needs a unix_socket, a port or both, got neither.")
        with batch_threads():
            server = grpc.aio.server(options=_options(settings))
            await self._open(server)
        self._server = server
        secured = "TLS" if self.certificates is not None else "plain text"
        _log.info("ext_proc listens on %s (%s)", ", ".join(self.addresses()), secured)

    async def _open(self, server: grpc.aio.Server) -> None:
        settings = self._settings
        server.add_generic_rpc_handlers((self._servicer.handler(), health_handler(self._readiness)))
        if settings.unix_socket is not None:
            free_socket_path(settings.unix_socket)
            bind(server, f"unix:{settings.unix_socket}")
        if settings.port is not None:
            self.port = listen(
                server,
                settings.host,
                settings.port,
                credentials=self._credentials(),
                shared=settings.reuse_port,
            )
        await self._health.start()
        await server.start()

    def _credentials(self) -> grpc.ServerCredentials | None:
        if self._settings.tls is None:
            return None
        try:
            self.certificates = Certificates(self._settings.tls, self._clock)
        except CertificateError as error:
            raise ListenError(f"ext_proc: {error}") from error
        return self.certificates.credentials()

    def addresses(self) -> tuple[str, ...]:
        """What it listens on, as gRPC targets; the actual port once started."""
        settings = self._settings
        targets = []
        if settings.unix_socket is not None:
            targets.append(f"unix:{settings.unix_socket}")
        if self.port is not None:
            targets.append(target_of(settings.host, self.port))
        return tuple(targets)

    async def stop(self, *, drain_seconds: float | None = None) -> int:
        """Turn unready, let streams end, then close.

        Args:
            drain_seconds: How long streams may take, or None for the setting.

        Returns:
            How many streams were cut off at the deadline.
        """
        self._readiness.drain()
        if self._server is None:
            return 0
        server, self._server = self._server, None
        limit_seconds = self._settings.drain_seconds if drain_seconds is None else drain_seconds
        cut_off = await self._streams_left(limit_seconds)
        if cut_off:
            _log.warning("ext_proc stops with %d streams open", cut_off)
            await server.stop(None)
        else:
            # Health watches never end by themselves; a stream that came in just now may.
            await server.stop(min(limit_seconds, _FAREWELL_SECONDS))
        await self._servicer.idle()
        await self._health.stop()
        return cut_off

    async def _streams_left(self, limit_seconds: float) -> int:
        """Wait until no stream is open or the time is up; return how many are."""
        if self._servicer.open_streams:
            try:
                await asyncio.wait_for(self._servicer.idle(), limit_seconds)
            except TimeoutError:
                return self._servicer.open_streams
        return 0


def _options(settings: ExtProcSettings) -> list[tuple[str, int]]:
    keepalive_milliseconds = int(settings.keepalive_seconds * 1000)
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes + _HEADERS_SLACK_BYTES),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        # gRPC's defaults reset new streams at random once 1,000 wait to be accepted, which is what
        # a burst looks like for the moment it takes to accept it (3,000 at once: 650 were lost).
        ("grpc.server.max_pending_requests", settings.max_concurrent_streams),
        ("grpc.server.max_pending_requests_hard_limit", settings.max_concurrent_streams),
        ("grpc.so_reuseport", int(settings.reuse_port)),
        ("grpc.keepalive_time_ms", keepalive_milliseconds),
        ("grpc.keepalive_timeout_ms", keepalive_milliseconds),
        ("grpc.keepalive_permit_without_calls", 1),
        # Envoy's own keepalive pings are welcome, however often: no GOAWAY "too_many_pings".
        ("grpc.http2.min_ping_interval_without_data_ms", 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
