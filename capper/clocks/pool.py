"""The agents of all nodes, found by name or address, asked all at once."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from capper.clocks import messages
from capper.proto import serialized
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_RESOLVE_SECONDS = 10.0

Credentials = Callable[[], tuple[object, grpc.ChannelCredentials | None]]
"""(what changes when the files do, credentials); None: the connection is not encrypted."""


@dataclass(slots=True)
class _Channels:
    """Connections made with one version of the credentials."""

    version: object = None
    open: dict[str, grpc.aio.Channel] = field(default_factory=dict)


class AgentPool:
    """Speaks to every agent behind some addresses.

    A name may stand for many agents (a headless Service): each address that it resolves to is one.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        clock: Clock,
        *,
        credentials: Credentials,
        server_name: str = "headrace-agent",
        timeout_seconds: float = 1.0,
    ) -> None:
        """Prepare; nothing is opened before the first call.

        Args:
            addresses: "host:port" or "unix:///path".
            clock: For the age of resolved names.
            credentials: Asked before each round, so that renewed files count.
            server_name: That agents' certificates carry.
            timeout_seconds: For each answer.
        """
        self._addresses = tuple(addresses)
        self._clock = clock
        self._credentials = credentials
        self._server_name = server_name
        self._timeout_seconds = timeout_seconds
        self._resolved: tuple[str, ...] = ()
        self._resolved_seconds = float("-inf")
        self._channels = _Channels()

    async def hold(self, request: Any) -> tuple[list[Any], list[str]]:
        """(HoldReply of each agent, one sentence for each that did not answer)."""
        return await self._ask("Hold", request, messages.HoldReply)

    async def release(self, holder: str) -> tuple[list[Any], list[str]]:
        """(ReleaseReply of each agent, sentences)."""
        request = messages.ReleaseRequest(holder=holder)
        return await self._ask("Release", request, messages.ReleaseReply)

    async def boards(self) -> tuple[list[Any], list[str]]:
        """(BoardsReply of each agent, sentences)."""
        return await self._ask("Boards", messages.BoardsRequest(), messages.BoardsReply)

    async def aclose(self) -> None:
        """Close all connections."""
        channels, self._channels = self._channels, _Channels()
        await asyncio.gather(*(one.close() for one in channels.open.values()))

    async def _ask(self, method: str, request: Any, reply: Any) -> tuple[list[Any], list[str]]:
        addresses, failures = await self._targets()
        try:
            await self._renew_channels()
        except OSError as error:
            return [], [f"the client's certificate cannot be read: {error}."]
        answers = await asyncio.gather(
            *(self._call(one, method, request, reply) for one in addresses)
        )
        said = [one for one in answers if isinstance(one, str)]
        return [one for one in answers if not isinstance(one, str)], [*failures, *said]

    async def _call(self, address: str, method: str, request: Any, reply: Any) -> Any:
        call = self._channel(address).unary_unary(
            f"/{messages.SERVICE}/{method}",
            request_serializer=serialized,
            response_deserializer=reply.FromString,
        )
        try:
            return await call(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            return f"Agent {address}: {error.details() or error.code().name}."

    def _channel(self, address: str) -> grpc.aio.Channel:
        known = self._channels.open.get(address)
        if known is None:
            _, credentials = self._credentials()
            if credentials is None:
                known = grpc.aio.insecure_channel(address, options=_OPTIONS)
            else:
                named = (*_OPTIONS, ("grpc.ssl_target_name_override", self._server_name))
                known = grpc.aio.secure_channel(address, credentials, options=named)
            self._channels.open[address] = known
        return known

    async def _renew_channels(self) -> None:
        """Begin anew where the certificate has changed."""
        version, _ = self._credentials()
        if version != self._channels.version:
            await self.aclose()
            self._channels.version = version

    async def _targets(self) -> tuple[tuple[str, ...], list[str]]:
        """Addresses of all agents; those of a name that does not resolve now are the last known."""
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._resolved_seconds < _RESOLVE_SECONDS:
            return self._resolved, []
        found, failures = [], []
        for address in self._addresses:
            try:
                found += await _resolve(address)
            except OSError as error:
                failures.append(f"Agents {address}: {error.strerror or error}.")
        if failures:
            return tuple(dict.fromkeys((*found, *self._resolved))), failures
        self._resolved, self._resolved_seconds = tuple(dict.fromkeys(found)), now_seconds
        for gone in self._channels.open.keys() - set(self._resolved):
            await self._channels.open.pop(gone).close()
        return self._resolved, []


# A node that comes back is to be reached at the next turn, not after a growing pause.
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 2000))


async def _resolve(address: str) -> list[str]:
    if address.startswith("unix:"):
        return [address]
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_written(str(where[0]), int(where[1])) for *_, where in answers]


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
