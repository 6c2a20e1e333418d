"""What one Envoy in front of a fleet needs to know, as plain values.

Pure: no I/O and no Envoy types, so that a plan can be built and compared anywhere. The renderer
is `headrace.envoy_config`.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

MEBIBYTE = 1024 * 1024
_PORT_MAX = 65535


class EnvoyPlanError(ValueError):
    """A plan that no Envoy could serve; the message names the field, the value and the rule."""


class EnvoyBodyMode(StrEnum):
    """How Envoy shows bodies to the router."""

    BUFFERED = "buffered"
    FULL_DUPLEX = "full-duplex"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyEndpoint:
    """One replica as Envoy sees it.

    Attributes:
        address: ``ip:port`` or ``[ipv6]:port``. Names are refused: the picker answers with
            addresses, and Envoy compares them as text.
        models: the model names (base and adapters) that the replica answers to.
    """

    address: str
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an address that is not a literal IP and port."""
        host, _ = split_address(self.address, field_name="endpoints")
        if not is_ip_literal(host):
            raise EnvoyPlanError(f"endpoints: {self.address!r} must be an IP address and a port")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyTimeouts:
    """Every duration of the rendered configuration, in seconds.

    Attributes:
        connect_seconds: TCP connect to a replica or router. 2 s is far above any datacentre
            round trip, and a retry elsewhere follows.
        ext_proc_message_seconds: wait for one answer of the router, then fail open. Envoy's
            200 ms breaks on a 64 MiB prompt or a pause of the router; beyond 2 s a client is
            better served by the fallback.
        ext_proc_wait_seconds: most that the router may ask for by itself, for a request that
            waits for room or for a replica to start (``max_message_timeout``).
        route_seconds: total time of a request, 0 is no limit. Envoy's 15 s cuts off nearly
            every generation; an idle limit catches what hangs.
        stream_idle_seconds: no byte in either direction. A queued prompt is silent until its
            first token, so this is the longest queue that is accepted. Envoy's own is 300 s.
        request_headers_seconds: from the first byte to the last header; stops slow-header
            clients.
        request_receive_seconds: until the last body byte has arrived; 64 MiB in 120 s is
            4.5 Mbit/s, slower clients would pin their buffer.
        downstream_idle_seconds: a client connection without requests.
        upstream_idle_seconds: a replica connection without requests. Below the 5 s after which
            uvicorn (vLLM's server) closes, so that Envoy closes first and never sends a request
            into a closing socket.
        health_interval_seconds: between two checks, for replicas and routers alike, with and
            without traffic (Envoy's 60 s without traffic hides a death for a minute).
        health_timeout_seconds: for one check. vLLM answers ``/health`` from a busy event loop,
            so sub-second values eject replicas that merely work hard.
        outlier_ejection_seconds: first ejection of a replica that resets connections; it grows
            with each one.
        retry_after_seconds: told to clients with a 503; about the time a health check needs to
            bring a replica back.
    """

    connect_seconds: float = 2.0
    ext_proc_message_seconds: float = 2.0
    ext_proc_wait_seconds: float = 600.0
    route_seconds: float = 0.0
    stream_idle_seconds: float = 900.0
    request_headers_seconds: float = 10.0
    request_receive_seconds: float = 120.0
    downstream_idle_seconds: float = 600.0
    upstream_idle_seconds: float = 4.0
    health_interval_seconds: float = 2.0
    health_timeout_seconds: float = 2.0
    outlier_ejection_seconds: float = 10.0
    retry_after_seconds: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyLimits:
    """Every bound that is not a duration.

    Attributes:
        max_body_bytes: largest request body; above it the client gets 413. The router must
            accept gRPC messages of this size and a little more.
        connection_buffer_bytes: per connection and direction. Bounds what a client that reads
            slowly can pin, and is kept apart from `max_body_bytes` for that reason.
        max_open_requests: circuit breaker of every cluster, for connections, pending and
            running requests. Envoy's 1,024 refuses streams while replicas have room: admission
            is the router's work, so this only bounds memory.
        max_retries: retries at one time; all of them are before a request reached a replica.
        max_streams_per_connection: HTTP/2 streams of one connection to the router; more open
            further connections, which also spreads them over workers on one port.
        max_downstream_connections: accepted client connections of the process.
        unhealthy_threshold: failed checks until a replica or router is left out.
        retries: attempts after the first, each on another replica.
        outlier_consecutive_failures: connections refused or reset in a row before a replica
            is ejected ahead of its health check.
        outlier_max_ejection_ratio: share of the fleet that outlier detection may eject; active
            health checks alone may empty it.
    """

    max_body_bytes: int = 64 * MEBIBYTE
    connection_buffer_bytes: int = MEBIBYTE
    max_open_requests: int = 100_000
    max_retries: int = 1_024
    max_streams_per_connection: int = 1_000
    max_downstream_connections: int = 50_000
    unhealthy_threshold: int = 2
    retries: int = 2
    outlier_consecutive_failures: int = 5
    outlier_max_ejection_ratio: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyPlan:
    """Everything that the Envoy of one fleet depends on.

    Attributes:
        endpoints: the replicas; at least one, no address twice.
        ext_proc_targets: routers, each ``unix:/path`` or ``host:port``, unix sockets not beside
            names that must be resolved. Several are workers of one router; each request is
            processed by one of them.
        ext_proc_tls: speak TLS to the routers; their certificates are not verified, as gateways of
            the Inference Extension do not.
        body_mode: "buffered" sends each request body whole and nothing of the response;
            "full-duplex" streams both through the router, as those gateways do.
        listen_host: address of the OpenAI listener.
        listen_port: 0 takes a free port (`headrace.envoy_process` tells which).
        admin_port: of the admin interface, on loopback only because it can stop Envoy; 0 takes
            a free port.
        access_log_path: file for the JSON access log; None is standard output.
        access_log_target: ``host:port`` of the router's access-log receiver; each request is logged
            to it, and in buffered mode the router then sees response headers too. None: neither.
        withheld_headers: request headers that the router never sees. Credentials are for the
            replicas; a picker that cannot read them cannot leak them.
        timeouts: see `EnvoyTimeouts`.
        limits: see `EnvoyLimits`.
    """

    endpoints: tuple[EnvoyEndpoint, ...]
    ext_proc_targets: tuple[str, ...]
    ext_proc_tls: bool = False
    body_mode: EnvoyBodyMode = EnvoyBodyMode.BUFFERED
    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    admin_port: int = 0
    access_log_path: str | None = None
    access_log_target: str | None = None
    withheld_headers: tuple[str, ...] = ("authorization", "proxy-authorization", "cookie")
    timeouts: EnvoyTimeouts = field(default_factory=EnvoyTimeouts)
    limits: EnvoyLimits = field(default_factory=EnvoyLimits)

    def __post_init__(self) -> None:
        """Refuse what Envoy would refuse later with a longer message."""
        _require_unique("endpoints", (endpoint.address for endpoint in self.endpoints))
        _require_unique("ext_proc_targets", self.ext_proc_targets)
        _require_reachable_routers(self.ext_proc_targets)
        if self.ext_proc_tls and any(t.startswith("unix:") for t in self.ext_proc_targets):
            raise EnvoyPlanError("ext_proc_tls: a router's unix socket is always plain text")
        for name, port in (("listen_port", self.listen_port), ("admin_port", self.admin_port)):
            if not 0 <= port <= _PORT_MAX:
                raise EnvoyPlanError(f"{name}: {port} is not in 0..{_PORT_MAX}")
        if self.access_log_target is not None:
            split_address(self.access_log_target, field_name="access_log_target")
        if not is_ip_literal(self.listen_host):
            raise EnvoyPlanError(f"listen_host: {self.listen_host!r} must be an IP address")

    @property
    def models_differ(self) -> bool:
        """Whether some replica lacks a model of another, so that the fallback must look."""
        return len({frozenset(endpoint.models) for endpoint in self.endpoints}) > 1


def split_address(address: str, *, field_name: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[ipv6]:port``.

    Raises:
        EnvoyPlanError: when there is no host or no port in 1..65535.
    """
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not port.isdecimal() or not 1 <= int(port) <= _PORT_MAX:
        raise EnvoyPlanError(f"{field_name}: {address!r} must be host:port with port 1..65535")
    if ":" in host and not bracketed:
        raise EnvoyPlanError(f"{field_name}: {address!r} must put its IPv6 address in brackets")
    return (host[1:-1] if bracketed else host), int(port)


def is_ip_literal(host: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _require_unique(field_name: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise EnvoyPlanError(f"{field_name}: {value!r} is named twice")
        seen.add(value)
    if not seen:
        raise EnvoyPlanError(f"{field_name}: at least one is required")


def _require_reachable_routers(targets: tuple[str, ...]) -> None:
    field_name = "ext_proc_targets"
    names = False
    for target in targets:
        if not target.startswith("unix:"):
            host, _ = split_address(target, field_name=field_name)
            names = names or not is_ip_literal(host)
        elif not target.removeprefix("unix:").startswith("/"):
            raise EnvoyPlanError(f"{field_name}: {target!r} must be unix: and an absolute path")
    # One Envoy cluster either resolves all of its endpoints or none.
    if names and any(target.startswith("unix:") for target in targets):
        raise EnvoyPlanError(f"{field_name}: {targets!r} cannot mix unix: with names")
