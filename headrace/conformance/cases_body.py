"""Rules on the request's body that hold in both body modes, and on the buffered one."""

from headrace.conformance import wire
from headrace.conformance.case import BUFFERED, CaseList
from headrace.conformance.lab import Lab, require_pick
from headrace.conformance.verdicts import CaseFailedError, Level, Source
from headrace.conformance.wire import HttpRequest

CASES = CaseList()
_CHUNK_BYTES = 16_384
_CLIENT_ERROR = range(400, 500)


@CASES.add(
    "body-unchanged",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A body reaches the replica byte for byte when its model is not rewritten.",
)
async def _unchanged(lab: Lab) -> None:
    # Spaces, order, escapes and text beyond ASCII, none of which a re-encoder would keep.
    body = wire.chat_body(lab.settings.model, 'naïve "🚲" \\ \u2028').replace(b"{", b"{ ", 1)
    await require_echo(lab, (body,))


@CASES.add(
    "body-large",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "A prompt of 1 MB is routed and reaches the replica byte for byte.",
)
async def _large(lab: Lab) -> None:
    await require_echo(lab, large_chunks(lab))


@CASES.add(
    "body-empty",
    Level.ROBUSTNESS,
    Source.EXT_PROC,
    "An announced body that turns out empty is answered: routed and ended, or refused with 4xx.",
)
async def _empty(lab: Lab) -> None:
    half = await lab.asked(HttpRequest(chunks=(b"",)))
    if half.immediate is None:
        require_pick(half)
        if half.body:
            raise CaseFailedError(f"{len(half.body)} bytes came out of an empty body.")
    elif half.immediate.status.code not in _CLIENT_ERROR:
        raise CaseFailedError(f"It was answered {half.immediate.status.code}.")


@CASES.add(
    "buffered-body-reply",
    Level.MUST,
    Source.EXT_PROC,
    "In BUFFERED mode headers and body MUST each be answered by one reply of their kind, the body "
    "by no streamed_response, and header mutations of both count.",
    modes=BUFFERED,
)
async def _buffered_reply(lab: Lab) -> None:
    async with lab.open() as conversation:
        await lab.routed(conversation)
        await conversation.quiet(lab.settings.quiet_seconds)


def large_chunks(lab: Lab) -> tuple[bytes, ...]:
    """A large body, in pieces as they come from a connection."""
    text = "".join(f"{number} ✓ " for number in range(lab.settings.large_body_bytes // 9))
    body = wire.chat_body(lab.settings.model, text[: lab.settings.large_body_bytes])
    return tuple(body[at : at + _CHUNK_BYTES] for at in range(0, len(body), _CHUNK_BYTES))


async def require_echo(lab: Lab, chunks: tuple[bytes, ...]) -> None:
    """Insist that a request is routed and its body is left as it is.

    Raises:
        CaseFailedError: When it is not.
    """
    half = await lab.asked(HttpRequest(chunks=chunks))
    require_pick(half)
    require_same(bytes(half.body), b"".join(chunks))


def require_same(got: bytes, sent: bytes) -> None:
    """Insist on equal bodies.

    Raises:
        CaseFailedError: With the place of the first difference.
    """
    if got == sent:
        return
    same = next(
        (at for at, (a, b) in enumerate(zip(got, sent, strict=False)) if a != b),
        min(len(got), len(sent)),
    )
    raise CaseFailedError(f"{len(sent)} bytes became {len(got)}; they differ from byte {same} on.")
