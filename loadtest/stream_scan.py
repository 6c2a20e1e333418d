"""What an OpenAI event stream tells, found by searching its bytes. Pure.

Decoding the JSON of each event would cost the client more than all the rest of its work. Searching
is exact all the same: inside a JSON string every quote is preceded by a backslash, so the quoted
keys looked for below cannot be part of the text of an answer.
"""

import re
from typing import NamedTuple

# Text that is not empty; the first event of an answer carries the role and `"content":""`.
# Reasoning models send their thoughts under the other two names, and those are tokens as well.
_CONTENT = re.compile(rb'"(?:content|reasoning_content|reasoning)":\s*"[^"]')
_ERROR_EVENT = re.compile(rb'data:\s*(\{\s*"error"[^\r\n]*)')
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
_DONE = re.compile(rb"data:\s*\[DONE\]")
# Holds the last events: usage (about 300 bytes) and `[DONE]`.
_TAIL_BYTES = 4096
_ERROR_CHARACTERS = 300


class Usage(NamedTuple):
    """The engine's own count of tokens; None where the body does not tell."""

    prompt_tokens: int | None
    output_tokens: int | None


class StreamScan:
    """Feed it the body in pieces of any size; the pieces' borders do not matter.

    Attributes:
        has_content: Text of the answer has come.
    """

    __slots__ = ("_error", "_tail", "has_content")

    def __init__(self) -> None:
        """Start at the body's first byte."""
        self.has_content = False
        self._error: bytes | None = None
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Look through the next bytes of the body."""
        seen = self._tail + piece
        if not self.has_content:
            self.has_content = _CONTENT.search(seen) is not None
        error = _ERROR_EVENT.search(seen)
        if error is not None:
            self._error = error[1]
        self._tail = seen[-_TAIL_BYTES:]

    @property
    def is_done(self) -> bool:
        """Whether the end that the protocol asks for, `data: [DONE]`, has come."""
        return _DONE.search(self._tail) is not None

    @property
    def error_text(self) -> str | None:
        """The first characters of the last error event; None without one."""
        return None if self._error is None else readable(self._error)

    @property
    def usage(self) -> Usage:
        """As the last events tell it."""
        return usage_of(self._tail)


def usage_of(body: bytes) -> Usage:
    """The last `usage` in a body, or in the end of one."""
    return Usage(_last_count(_PROMPT_TOKENS, body), _last_count(_COMPLETION_TOKENS, body))


def _last_count(pattern: re.Pattern[bytes], body: bytes) -> int | None:
    counts = pattern.findall(body)
    return int(counts[-1]) if counts else None


def readable(body: bytes) -> str:
    """The first characters of a body on one line, for an error message."""
    text = body[: 4 * _ERROR_CHARACTERS].decode(errors="replace")
    return " ".join(text.split())[:_ERROR_CHARACTERS]
