"""Rules on the response phase."""

from headrace.conformance.case import BUFFERED, DUPLEX, CaseList
from headrace.conformance.cases_body import require_same
from headrace.conformance.conversation import Conversation
from headrace.conformance.lab import Lab
from headrace.conformance.verdicts import Level, Source
from headrace.conformance.wire import (
    DESTINATION,
    DESTINATION_NAMESPACE,
    SERVED,
    UNKNOWN_ENDPOINT,
    BodyMode,
    HttpResponse,
)

CASES = CaseList()


@CASES.add(
    "response-headers",
    Level.MUST,
    Source.EXT_PROC,
    "Response headers MUST be answered by exactly one reply to response headers.",
)
async def _headers(lab: Lab) -> None:
    async with lab.open() as conversation:
        await lab.routed(conversation)
        # A response without a body: all that there is, is answered by one message.
        await lab.respond(conversation, HttpResponse(status=204), BodyMode.NONE)
        await conversation.quiet(lab.settings.quiet_seconds)


@CASES.add(
    "response-streamed-body",
    Level.SHOULD,
    Source.EXT_PROC,
    "In the response body mode STREAMED each chunk SHOULD be answered by one reply that leaves it "
    "as it is.",
    modes=BUFFERED,
)
async def _streamed(lab: Lab) -> None:
    chunks = _event_chunks(20)
    async with lab.open() as conversation:
        await lab.routed(conversation, lab.chat(response_mode=BodyMode.STREAMED))
        half = await lab.respond(conversation, HttpResponse(chunks=chunks), BodyMode.STREAMED)
    require_same(bytes(half.body), b"".join(chunks))


@CASES.add(
    "response-duplex-echo",
    Level.MUST,
    Source.PICKER,
    "The picker MUST support streaming mode for responses: an answer of 10,000 chunks comes back "
    "in order, byte for byte, with one end_of_stream.",
    modes=DUPLEX,
)
async def _duplex_echo(lab: Lab) -> None:
    chunks = _event_chunks(lab.settings.response_chunks)
    async with lab.open() as conversation:
        await lab.routed(conversation)
        half = await lab.respond(conversation, HttpResponse(chunks=chunks), BodyMode.FULL_DUPLEX)
        require_same(bytes(half.body), b"".join(chunks))
        await conversation.quiet(lab.settings.quiet_seconds)


@CASES.add(
    "response-duplex-not-held",
    Level.SHOULD,
    Source.PICKER,
    "Chunks of an answer SHOULD pass as they come, token by token, and not wait for its end.",
    modes=DUPLEX,
)
async def _not_held(lab: Lab) -> None:
    chunks = _event_chunks(3)
    async with lab.open() as conversation:
        await lab.routed(conversation)
        await lab.first_chunk(conversation, HttpResponse(chunks=chunks))


@CASES.add(
    "response-duplex-trailers",
    Level.MUST,
    Source.EXT_PROC,
    "When trailers end a response, its body MUST come without end_of_stream and the trailers MUST "
    "be answered.",
    modes=DUPLEX,
)
async def _trailers(lab: Lab) -> None:
    chunks = _event_chunks(3)
    response = HttpResponse(chunks=chunks, trailers=True)
    async with lab.open() as conversation:
        await lab.routed(conversation)
        half = await lab.respond(conversation, response, BodyMode.FULL_DUPLEX)
    require_same(bytes(half.body), b"".join(chunks))


@CASES.add(
    "served-endpoint-accepted",
    Level.MUST,
    Source.PICKER,
    f"The data plane tells in {SERVED} who served a request: the picker MUST go on with it.",
)
async def _served(lab: Lab) -> None:
    async with lab.open() as conversation:
        picked = (await lab.routed(conversation)).endpoints()
        await _feed_back(lab, conversation, picked, picked[-1])
        await conversation.end_well()


@CASES.add(
    "served-endpoint-odd",
    Level.ROBUSTNESS,
    Source.PICKER,
    "A served endpoint that is unknown, empty, no address or no string does no harm.",
)
async def _served_odd(lab: Lab) -> None:
    odd: tuple[object, ...] = (UNKNOWN_ENDPOINT, "", "no address", 7.0, None, ["127.0.0.1:1"])
    for value in odd:
        async with lab.open() as conversation:
            picked = (await lab.routed(conversation)).endpoints()
            await _feed_back(lab, conversation, picked, value)
            await conversation.end_well()


async def _feed_back(
    lab: Lab, conversation: Conversation, picked: tuple[str, ...], served: object
) -> None:
    """A response whose replica is told in the metadata, beside the pick that Envoy was given."""
    metadata = {DESTINATION_NAMESPACE: {DESTINATION: ",".join(picked), SERVED: served}}
    if lab.mode is BodyMode.FULL_DUPLEX:
        response = HttpResponse(chunks=_event_chunks(3), metadata=metadata)
    else:
        response = HttpResponse(metadata=metadata)
    await lab.respond(conversation, response, lab.response_mode)


def _event_chunks(count: int) -> tuple[bytes, ...]:
    """Server-sent events, each different, and the end in a chunk of its own."""
    return (*(b'data: {"n": %d}\n\n' % number for number in range(count - 1)), b"")
