"""Token usage from a response body, whole or streamed, without keeping more than its end. Pure.

Every OpenAI-compatible engine puts the `usage` object at the end: last but little in a JSON body,
in the last chunk of a stream (`stream_options.include_usage`). So the end of the body is kept as it
passes, in whatever pieces, and searched once. The bytes `"usage":` cannot be part of a JSON string,
whose quotes are escaped, so no text of an answer can pass for the key.
"""

import re
from typing import NamedTuple

import msgspec

TAIL_BYTES = 8 * 1024
"""What is kept of a body: the usage object and what engines write behind it fit many times."""

_KEY = re.compile(rb'"usage"\s*:\s*\{')
_MAX_USAGE_BYTES = 4096
_MAX_TOKENS = 10**9


class Usage(NamedTuple):
    """Tokens as the engine reports them; None where it does not.

    Attributes:
        prompt_tokens: Of the prompt, cached ones included.
        cached_prompt_tokens: Of these, found in the prefix cache.
        output_tokens: Generated.
    """

    prompt_tokens: int | None
    cached_prompt_tokens: int | None
    output_tokens: int | None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Body(msgspec.Struct):
    """Names of the chat and completions APIs, then those of the responses and messages APIs."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


_decoder = msgspec.json.Decoder(_Body)


class UsageScanner:
    """Takes a body in pieces.

    Attributes:
        body_bytes: Seen so far.
    """

    __slots__ = ("_tail", "body_bytes")

    def __init__(self) -> None:
        """Start before the first byte."""
        self._tail = bytearray()
        self.body_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What is held in memory."""
        return len(self._tail)

    def feed(self, piece: bytes) -> None:
        """Take the next piece, of any length."""
        self.body_bytes += len(piece)
        tail = self._tail
        tail += piece[-TAIL_BYTES:]
        if len(tail) > 2 * TAIL_BYTES:  # seldom, so that each byte is moved once on average
            del tail[:-TAIL_BYTES]

    def usage(self) -> Usage | None:
        """The last usage object of the body, or None when there is none that can be read."""
        end = bytes(self._tail[-TAIL_BYTES:])
        found = None
        for match in _KEY.finditer(end):
            found = _read(end, match.end() - 1) or found
        return found


def _read(text: bytes, start: int) -> Usage | None:
    """Read the object that begins at `start`; what is not one, or tells nothing, is None."""
    end = _object_end(text, start)
    if end is None:
        return None
    try:
        body = _decoder.decode(text[start:end])
    except msgspec.MsgspecError:
        return None
    details = body.prompt_tokens_details or body.input_tokens_details or _Details()
    prompt = body.prompt_tokens if body.prompt_tokens is not None else body.input_tokens
    output = body.completion_tokens if body.completion_tokens is not None else body.output_tokens
    usage = Usage(_count(prompt), _count(details.cached_tokens), _count(output))
    return None if usage.prompt_tokens is None and usage.output_tokens is None else usage


def _object_end(text: bytes, start: int) -> int | None:
    """Where the object ends that begins at `start`. Usage objects hold no braces in strings."""
    depth = 0
    for at in range(start, min(len(text), start + _MAX_USAGE_BYTES)):
        byte = text[at]
        if byte == 0x7B:  # noqa: PLR2004 - an opening brace
            depth += 1
        elif byte == 0x7D:  # noqa: PLR2004 - a closing brace
            depth -= 1
            if not depth:
                return at + 1
    return None


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _MAX_TOKENS else None
