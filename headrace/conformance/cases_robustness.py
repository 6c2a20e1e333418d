"""What a picker has to live through: streams cut, mixed up and many at once."""

import asyncio
from contextlib import AsyncExitStack

from headrace.conformance import wire
from headrace.conformance.case import CaseList
from headrace.conformance.conversation import Conversation
from headrace.conformance.lab import Lab, require_pick
from headrace.conformance.verdicts import CaseFailedError, Level, Source
from headrace.conformance.wire import BodyMode, HttpResponse

CASES = CaseList()
_GARBAGE = b"\xff\xff\xff\xff no protobuf message"
_CUT_STREAMS = 5


@CASES.add(
    "many-headers",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A set of 10,000 headers is routed, refused with 4xx or ended with a gRPC status, and the next "
    "request is routed.",
)
async def _many_headers(lab: Lab) -> None:
    headers = tuple((f"x-many-{n}", f"value {n}") for n in range(lab.settings.many_headers))
    request = lab.chat(headers=headers)
    async with lab.open() as conversation:
        await conversation.send(wire.request_headers(request, lab.mode))
        for message in wire.request_bodies(request, lab.mode):
            await conversation.send(message)
        await conversation.reply_or_end("an answer to 10,000 headers")
    await lab.still_serves()


@CASES.add(
    "cancel-amid-body",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A stream that is cancelled amid its body disturbs no other, and the next request is routed.",
)
async def _cancel(lab: Lab) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(lab.open()) for _ in range(_CUT_STREAMS)]
        for conversation in streams:
            await _begin(lab, conversation)
        # Time for the picker to take in what was sent, so that it is amid the body.
        await streams[-1].quiet_reply(lab.settings.quiet_seconds)
    await lab.still_serves()


@CASES.add(
    "half-close-amid-body",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "When the proxy half-closes a stream amid the body, the stream ends, and the next request is "
    "routed.",
)
async def _half_close_amid_body(lab: Lab) -> None:
    async with lab.open() as conversation:
        await _begin(lab, conversation)
        await conversation.half_close()
        await conversation.end()
    await lab.still_serves()


@CASES.add(
    "half-close-at-end",
    Level.MUST,
    Source.EXT_PROC,
    "When the proxy half-closes a stream at its end, the picker MUST end it with OK.",
)
async def _half_close_at_end(lab: Lab) -> None:
    async with lab.open() as conversation:
        await lab.routed(conversation)
        response = HttpResponse(chunks=(b"data: [DONE]\n\n",))
        await lab.respond(conversation, response, lab.response_mode)
        await conversation.end_well()


@CASES.add(
    "no-unsolicited-messages",
    Level.MUST,
    Source.EXT_PROC,
    "While the replica works on a request, nothing MUST be sent: Envoy fails it for a message that "
    "it did not ask for.",
)
async def _unsolicited(lab: Lab) -> None:
    async with lab.open() as conversation:
        await lab.routed(conversation)
        await conversation.quiet(2 * lab.settings.quiet_seconds)
        if conversation.over:
            raise CaseFailedError(
                f"The picker ended the stream ({await conversation.status_name()})."
            )


@CASES.add(
    "concurrent-streams",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "100 streams on one connection are each answered, with their own body.",
)
async def _concurrent(lab: Lab) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_alone(lab, f"Prompt number {number}."))
            for number in range(lab.settings.streams)
        ]
    failures = [failure for task in tasks if (failure := task.result())]
    if failures:
        raise CaseFailedError(f"{len(failures)} of {len(tasks)} failed; the first: {failures[0]}")


@CASES.add(
    "streams-are-isolated",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A stream that is sent bytes which are no message ends with a gRPC status, and others go on.",
)
async def _isolated(lab: Lab) -> None:
    request = lab.chat()
    async with lab.open() as good, lab.open() as bad:
        await good.send(wire.request_headers(request, lab.mode))
        await bad.send(wire.request_headers(request, lab.mode))
        await bad.send(_GARBAGE)
        await bad.end()
        half = lab.half_of(request)
        await lab.ask_rest(good, request, half)
        require_pick(half)


@CASES.add(
    "body-before-headers",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A body without headers is answered or ends the stream; it never hangs.",
)
async def _body_first(lab: Lab) -> None:
    body = wire.request_body(lab.chat().body, end_of_stream=True)
    async with lab.open() as conversation:
        await conversation.send(body)
        await _comes_to_an_end(lab, conversation)
    await lab.still_serves()


@CASES.add(
    "second-headers",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "Headers that come twice are answered or end the stream; it never hangs.",
)
async def _second_headers(lab: Lab) -> None:
    headers = wire.request_headers(lab.chat(), lab.mode)
    async with lab.open() as conversation:
        await conversation.send(headers)
        await conversation.send(headers)
        await _comes_to_an_end(lab, conversation)
    await lab.still_serves()


@CASES.add(
    "response-before-body",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "Response headers amid the request, as when Envoy refuses a body that is too large, are "
    "answered or end the stream; it never hangs.",
)
async def _early_response(lab: Lab) -> None:
    async with lab.open() as conversation:
        await _begin(lab, conversation)
        await conversation.send(wire.response_headers(HttpResponse(status=413)))
        await _comes_to_an_end(lab, conversation)
    await lab.still_serves()


async def _begin(lab: Lab, conversation: Conversation) -> None:
    """The request up to the middle of its body."""
    request = lab.chat()
    await conversation.send(wire.request_headers(request, lab.mode))
    if lab.mode is BodyMode.FULL_DUPLEX:  # when buffered the body comes whole or not at all
        await conversation.send(wire.request_body(request.body[:20], end_of_stream=False))


async def _comes_to_an_end(lab: Lab, conversation: Conversation) -> None:
    """Give it a moment to answer; once no more messages can come the stream has to end."""
    await conversation.quiet_reply(lab.settings.quiet_seconds)
    await conversation.half_close()
    await conversation.end()


async def _alone(lab: Lab, content: str) -> str | None:
    """A request among many; what went wrong, or None."""
    request = lab.chat(content)
    try:
        half = await lab.asked(request)
        require_pick(half)
    except CaseFailedError as error:
        return str(error)
    if bytes(half.body) != request.body:
        return "It was given another body than its own."
    return None
