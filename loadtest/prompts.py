"""Prompts of the simulated server: how many tokens a text is, what it shares, how it is answered.

Pure. Tokens are counted from bytes: 4.2 UTF-8 bytes are one token (declared; English is near it),
so that a client can make a prompt of exactly n tokens with `text_of_tokens`.
"""

import hashlib
import math
from collections.abc import Iterable
from typing import NamedTuple

# Bytes per token as a ratio of integers, so that counting is exact: 42 / 10 = 4.2.
_BYTES = 42
_TOKENS = 10

# Mean length of a drawn answer: that of the Azure 2023 conversation trace.
MEAN_OUTPUT_TOKENS = 211.0

_WORDS = "the water falls and the wheel turns and the mill grinds "


class Prompt(NamedTuple):
    """What the engine must read.

    Attributes:
        content: UTF-8 text, or token ids.
        tokens: Its length, >= 1.
    """

    content: bytes | tuple[int, ...]
    tokens: int


def text_prompt(text: str) -> Prompt:
    """A prompt of text."""
    content = text.encode()
    return Prompt(content, token_count(content))


def token_count(content: bytes) -> int:
    """Tokens of UTF-8 text: ceil(bytes / 4.2), at least 1."""
    return max(-(-len(content) * _TOKENS // _BYTES), 1)


def render_chat(turns: Iterable[tuple[str, str]]) -> str:
    """The text that a model reads for (role, content) turns; longer chats extend shorter ones."""
    return "".join(f"<|{role}|>{content}" for role, content in turns)


def text_of_tokens(tokens: int, *, salt: str = "") -> str:
    """ASCII text that counts exactly `tokens`, for a completion prompt.

    Args:
        tokens: Wanted length, >= 1.
        salt: ASCII text to begin with, so that two prompts share no cached prefix; cut when too
            long.
    """
    size = tokens * _BYTES // _TOKENS
    return (salt + _WORDS * (size // len(_WORDS) + 1))[:size]


def chat_content_of_tokens(tokens: int, *, salt: str = "") -> str:
    """Content of a single user message that counts exactly `tokens` as a chat.

    Raises:
        ValueError: When the chat template alone is longer.
    """
    template = render_chat([("user", "")])
    size = tokens * _BYTES // _TOKENS - len(template)
    if size < 0:
        raise ValueError(f"a chat has at least {token_count(template.encode())} tokens")
    return text_of_tokens(tokens, salt=salt)[:size]


def output_length(
    prompt: Prompt,
    *,
    limit_tokens: int,
    min_tokens: int,
    ignore_eos: bool,
    known_tokens: int | None = None,
) -> tuple[int, str]:
    """How long the answer will be, in tokens, and its finish reason ("length" or "stop").

    With `ignore_eos` it is the limit, with `known_tokens` that many; else an exponential draw
    with mean `MEAN_OUTPUT_TOKENS`, seeded by the prompt alone: the same prompt is always answered
    at the same length.
    """
    if ignore_eos:
        return limit_tokens, "length"
    if known_tokens is not None:
        return (known_tokens, "stop") if known_tokens < limit_tokens else (limit_tokens, "length")
    digest = hashlib.blake2b(_bytes_of(prompt), digest_size=8).digest()
    uniform = int.from_bytes(digest, "big") / 2**64
    drawn = math.ceil(-math.log1p(-uniform) * MEAN_OUTPUT_TOKENS)
    length = max(drawn, min_tokens, 1)
    return (length, "stop") if length < limit_tokens else (limit_tokens, "length")


def block_hashes(prompt: Prompt, *, block_tokens: int) -> tuple[int, ...]:
    """Chained hashes of the prompt's full blocks: equal prefixes give equal leading hashes.

    Equality holds within one process (Python salts its hashes), which is where an engine lives.
    """
    content = prompt.content
    scale, unit = (_BYTES, _TOKENS) if isinstance(content, bytes) else (1, 1)
    hashes = []
    previous = 0
    start = 0
    for index in range(1, prompt.tokens // block_tokens + 1):
        end = index * block_tokens * scale // unit
        previous = hash((previous, content[start:end]))
        hashes.append(previous)
        start = end
    return tuple(hashes)


def embedding(prompt: Prompt, *, dimensions: int) -> list[float]:
    """A vector that depends on the prompt alone, components in [-1, 1); at most 64 of them."""
    digest = hashlib.blake2b(_bytes_of(prompt), digest_size=dimensions).digest()
    return [byte / 128.0 - 1.0 for byte in digest]


def _bytes_of(prompt: Prompt) -> bytes:
    content = prompt.content
    return content if isinstance(content, bytes) else repr(content).encode()
