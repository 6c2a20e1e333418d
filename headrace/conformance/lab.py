"""What a case works with: streams, whole request and response phases, and what is known so far."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc

from headrace.conformance import wire
from headrace.conformance.conversation import Conversation
from headrace.conformance.envoy_view import Half, Side
from headrace.conformance.verdicts import CaseFailedError
from headrace.conformance.wire import BodyMode, HttpRequest, HttpResponse

_DISCOVERY_STREAMS = 16
_TEXT_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How hard the suite tries.

    Attributes:
        model: A model that the picker serves.
        timeout_seconds: Limit on each wait for the picker.
        quiet_seconds: How long nothing may come where nothing is due.
        streams: Streams opened at once.
        repeats: Picks made where one is not proof enough.
        response_chunks: Chunks of the long answer.
        large_body_bytes: About the size of the large prompt.
        many_headers: Headers of the oversized set.
    """

    model: str = "conformance"
    timeout_seconds: float = 10.0
    quiet_seconds: float = 0.25
    streams: int = 100
    repeats: int = 50
    response_chunks: int = 10_000
    large_body_bytes: int = 1_000_000
    many_headers: int = 10_000


@dataclass(slots=True)
class Findings:
    """What the suite has learned of the pool; the cases share it."""

    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """The picker under test, in one body mode.

    Attributes:
        channel: To its ext_proc port.
        health_channel: To where it serves gRPC health; the same unless told otherwise.
        settings: How hard to try.
        mode: FULL_DUPLEX or BUFFERED.
        findings: Shared by all cases.
    """

    channel: grpc.aio.Channel
    health_channel: grpc.aio.Channel
    settings: Settings
    mode: BodyMode
    findings: Findings = field(default_factory=Findings)

    @property
    def response_mode(self) -> BodyMode:
        """The mode announced for the response's body unless a request says otherwise."""
        return wire.response_mode(self.mode)

    def open(self) -> Conversation:
        """A new stream."""
        return Conversation(self.channel, timeout_seconds=self.settings.timeout_seconds)

    def chat(self, content: str = "Say hello.", **changes: Any) -> HttpRequest:
        """A chat completion that the picker should route.

        Envoy mostly tells the end of a body in a chunk of its own.
        """
        body = wire.chat_body(self.settings.model, content)
        return HttpRequest(chunks=(body, b""), **changes)

    async def ask(self, conversation: Conversation, request: HttpRequest) -> Half:
        """Play the request phase, as Envoy does in this mode, and return what became of it.

        Raises:
            CaseFailedError: When a reply is missing or is not one that Envoy takes.
        """
        half = self.half_of(request)
        await conversation.send(wire.request_headers(request, self.mode))
        await self.ask_rest(conversation, request, half)
        return half

    def half_of(self, request: HttpRequest) -> Half:
        """A request before any reply."""
        return Half(
            Side.REQUEST,
            mode=self.mode,
            headers=request.all_headers,
            body=request.chunks is not None,
            trailers=request.trailers,
        )

    async def ask_rest(self, conversation: Conversation, request: HttpRequest, half: Half) -> None:
        """`ask` from where the headers are sent."""
        if self.mode is BodyMode.BUFFERED:
            await settle(conversation, half)
        for message in wire.request_bodies(request, self.mode):
            if half.immediate is not None:
                break
            half.sent_body(message.request_body.body)
            if not await conversation.send(message):
                break
        await settle(conversation, half)

    async def asked(self, request: HttpRequest) -> Half:
        """`ask` on a stream of its own."""
        async with self.open() as conversation:
            return await self.ask(conversation, request)

    async def routed(self, conversation: Conversation, request: HttpRequest | None = None) -> Half:
        """`ask`, and insist on a pick.

        Raises:
            CaseFailedError: When there is none.
        """
        half = await self.ask(conversation, request or self.chat())
        require_pick(half)
        return half

    async def picked(self, request: HttpRequest | None = None) -> tuple[str, ...]:
        """The endpoints that a request is sent to, best first; at least one."""
        async with self.open() as conversation:
            return (await self.routed(conversation, request)).endpoints()

    async def respond(
        self, conversation: Conversation, response: HttpResponse, mode: BodyMode
    ) -> Half:
        """Play the response phase; `mode` is what was announced for its body."""
        half = _response_half(response, mode)
        await conversation.send(wire.response_headers(response))
        if mode is not BodyMode.FULL_DUPLEX:
            await settle(conversation, half)
        if mode is not BodyMode.NONE:
            for message in wire.response_bodies(response, mode):
                half.sent_body(message.response_body.body)
                if not await conversation.send(message):
                    break
        await settle(conversation, half)
        if half.immediate is not None:
            raise CaseFailedError(f"The response was replaced: {immediate_text(half)}.")
        return half

    async def first_chunk(self, conversation: Conversation, response: HttpResponse) -> None:
        """Play a duplex response phase as far as its first chunk.

        Raises:
            CaseFailedError: When that does not come back.
        """
        half = _response_half(response, BodyMode.FULL_DUPLEX)
        await conversation.send(wire.response_headers(response))
        await conversation.send(next(wire.response_bodies(response, BodyMode.FULL_DUPLEX)))
        while not half.body:
            half.take(await conversation.receive("the first chunk of the answer"))

    async def still_serves(self) -> None:
        """See that a new request is routed.

        Raises:
            CaseFailedError: When it is not.
        """
        try:
            await self.picked()
        except CaseFailedError as error:
            raise CaseFailedError(f"Afterwards a plain request is not routed: {error}") from error

    async def endpoints(self) -> tuple[str, ...]:
        """The endpoints that picks show while several requests are open.

        Raises:
            CaseFailedError: When there is no pick.
        """
        if not self.findings.endpoints:
            async with AsyncExitStack() as stack:
                streams = [
                    await stack.enter_async_context(self.open()) for _ in range(_DISCOVERY_STREAMS)
                ]
                halves = await asyncio.gather(*(self.routed(stream) for stream in streams))
            seen = dict.fromkeys(name for half in halves for name in half.endpoints())
            self.findings.endpoints = tuple(seen)
        return self.findings.endpoints


def _response_half(response: HttpResponse, mode: BodyMode) -> Half:
    return Half(
        Side.RESPONSE,
        mode=mode,
        headers=response.all_headers,
        body=response.chunks is not None,
        trailers=response.trailers,
    )


async def settle(conversation: Conversation, half: Half) -> None:
    """Take replies until all that was sent is answered."""
    while not half.complete:
        half.take(await conversation.receive(half.awaited))


def require_pick(half: Half) -> None:
    """Insist on a pick.

    Raises:
        CaseFailedError: When there is none.
    """
    if half.immediate is not None:
        raise CaseFailedError(f"Instead of a pick came {immediate_text(half)}.")
    if not half.endpoints():
        raise CaseFailedError(f"No reply set the header {wire.DESTINATION}.")


def immediate_text(half: Half) -> str:
    """An ImmediateResponse for a sentence."""
    answer = half.immediate
    text = answer.body.decode("utf-8", "replace")[:_TEXT_LIMIT].strip()
    return f"an ImmediateResponse {answer.status.code}" + (f" ({text})" if text else "")


def require_status(half: Half, allowed: range) -> None:
    """Insist on an ImmediateResponse with a status in `allowed`.

    Raises:
        CaseFailedError: When there is another or none.
    """
    wanted = str(allowed[0]) if len(allowed) == 1 else f"{allowed[0] // 100}xx"
    if half.immediate is None:
        picked = ", ".join(half.endpoints()) or "nothing"
        raise CaseFailedError(f"An ImmediateResponse {wanted} was due; picked was {picked}.")
    if half.immediate.status.code not in allowed:
        raise CaseFailedError(
            f"An ImmediateResponse {wanted} was due; it was {immediate_text(half)}."
        )
