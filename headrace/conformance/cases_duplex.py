"""Rules on the request phase in FULL_DUPLEX_STREAMED mode."""

from headrace.conformance import wire
from headrace.conformance.case import DUPLEX, CaseList
from headrace.conformance.cases_body import large_chunks, require_echo, require_same
from headrace.conformance.lab import Lab, require_pick
from headrace.conformance.verdicts import CaseFailedError, Level, Source
from headrace.conformance.wire import BodyMode, HttpRequest, HttpResponse

CASES = CaseList()
_MAX_CHUNK_BYTES = 62_000
_AWKWARD = "aé漢🚲"  # characters of one to four bytes


@CASES.add(
    "duplex-headers-reply-carries-pick",
    Level.MUST,
    Source.EXT_PROC,
    "In FULL_DUPLEX_STREAMED mode the reply to the headers MUST carry the pick, and so be held "
    "until there is one: header mutations of later replies are lost.",
    modes=DUPLEX,
)
async def _headers_carry_pick(lab: Lab) -> None:
    request = lab.chat()
    async with lab.open() as conversation:
        await conversation.send(wire.request_headers(request, lab.mode))
        early = await conversation.quiet_reply(lab.settings.quiet_seconds)
        if early is None:
            for message in wire.request_bodies(request, lab.mode):
                await conversation.send(message)
            early = await conversation.receive("a reply to the request headers")
    kind = early.WhichOneof("response")
    if kind != "request_headers":
        raise CaseFailedError(f"The first reply is {kind}.")
    set_headers = early.request_headers.response.header_mutation.set_headers
    if not any(option.header.key.lower() == wire.DESTINATION for option in set_headers):
        raise CaseFailedError(f"The reply to the headers came without {wire.DESTINATION}.")


@CASES.add(
    "duplex-order",
    Level.MUST,
    Source.EXT_PROC,
    "Replies MUST come in the order headers, body, trailers.",
    modes=DUPLEX,
)
async def _order(lab: Lab) -> None:
    half = await lab.asked(lab.chat(trailers=True))
    require_pick(half)


@CASES.add(
    "duplex-streamed-replies",
    Level.MUST,
    Source.EXT_PROC,
    "In FULL_DUPLEX_STREAMED mode each reply to a body MUST be a streamed_response.",
    modes=DUPLEX,
)
async def _streamed(lab: Lab) -> None:
    require_pick(await lab.asked(lab.chat()))


@CASES.add(
    "duplex-one-end-of-stream",
    Level.MUST,
    Source.EXT_PROC,
    "The end of a body MUST be told by exactly one end_of_stream, on its last chunk.",
    modes=DUPLEX,
)
async def _one_end(lab: Lab) -> None:
    async with lab.open() as conversation:
        half = await lab.routed(conversation, HttpRequest(chunks=large_chunks(lab)))
        while (late := await conversation.quiet_reply(lab.settings.quiet_seconds)) is not None:
            half.take(late)


@CASES.add(
    "duplex-chunk-limit",
    Level.SHOULD,
    Source.PRACTICE,
    "Chunks SHOULD hold at most 62,000 bytes: some proxies take no more than 64 KiB.",
    modes=DUPLEX,
)
async def _chunk_limit(lab: Lab) -> None:
    half = await lab.asked(HttpRequest(chunks=(b"".join(large_chunks(lab)),)))
    require_pick(half)
    largest = max(half.chunk_bytes)
    if largest > _MAX_CHUNK_BYTES:
        raise CaseFailedError(f"A chunk of {largest} bytes came.")


@CASES.add(
    "duplex-byte-by-byte",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A body that comes in chunks of one byte, through the middle of UTF-8 characters, is routed "
    "and echoed byte for byte.",
    modes=DUPLEX,
)
async def _byte_by_byte(lab: Lab) -> None:
    body = wire.chat_body(lab.settings.model, _AWKWARD * 20)
    await require_echo(lab, tuple(bytes((byte,)) for byte in body))


@CASES.add(
    "duplex-split-places",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "Wherever a body is split, and with empty chunks at the start, in between and at the end, it "
    "is routed and echoed byte for byte.",
    modes=DUPLEX,
)
async def _split_places(lab: Lab) -> None:
    body = wire.chat_body(lab.settings.model, _AWKWARD)
    start = body.index("é".encode())
    places = {1, 2, body.index(b":") + 1, *range(start, start + 10), len(body) - 1}
    for at in sorted(places):
        await require_echo(lab, (body[:at], body[at:]))
        await require_echo(lab, (b"", body[:at], b"", body[at:], b""))


@CASES.add(
    "duplex-duplicate-end-of-stream",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A second end of stream, which Envoy was seen to send after large bodies, changes nothing.",
    modes=DUPLEX,
)
async def _duplicate_end(lab: Lab) -> None:
    async with lab.open() as conversation:
        await lab.routed(conversation)
        await conversation.send(wire.request_body(b"", end_of_stream=True))
        await conversation.quiet(lab.settings.quiet_seconds)
        await lab.respond(conversation, HttpResponse(), BodyMode.FULL_DUPLEX)


@CASES.add(
    "duplex-trailers",
    Level.MUST,
    Source.EXT_PROC,
    "When trailers end a request, its body MUST come without end_of_stream and the trailers MUST "
    "be answered.",
    modes=DUPLEX,
)
async def _trailers(lab: Lab) -> None:
    request = lab.chat(trailers=True)
    half = await lab.asked(request)
    require_pick(half)
    require_same(bytes(half.body), request.body)
