"""Chained hashes of a prompt's blocks: equal leading hashes stand for equal beginnings. Pure.

A block's hash covers the block and all before it, as in an engine's prefix cache. The hash is
Python's own (SipHash for bytes, keyed at random per process), so values mean nothing outside the
process, and nobody outside can construct two prompts that collide.
"""

from collections.abc import Sequence

BLOCK_BYTES = 256
"""Text of each of the first blocks; about 64 tokens of English, four blocks of vLLM's default."""

SHORT_BLOCKS = 64
"""How many blocks of text are that short; the others are longer, so that a long prompt costs little
to hash and to remember, and what is rounded off stays a small part of it."""

LONG_BLOCK_RATIO = 8
"""Text of each later block over that of a first one."""

TOKENS_PER_STEP = 16
"""Token ids that are hashed at once: vLLM's default block."""

BLOCK_TOKENS = 64
"""Token ids of a block, where the prompt was given as ids."""

_SHORT_BYTES = SHORT_BLOCKS * BLOCK_BYTES
_LONG_BYTES = LONG_BLOCK_RATIO * BLOCK_BYTES
_MOST_BYTES = 2**20
_MOST_TOKEN_BLOCKS = 4096
_STEPS_PER_BLOCK = BLOCK_TOKENS // TOKENS_PER_STEP


def text_blocks(prompt: bytes) -> tuple[int, ...]:
    """One hash for each full block of a prompt in text.

    Args:
        prompt: As JSON, so that a longer conversation begins with the same bytes; whatever else
            the engine's cache depends on (salt, tools) stands in front.

    Returns:
        Of the first MiB of a prompt.
    """
    looked_at = min(len(prompt), _MOST_BYTES)
    known = 0
    hashes = []
    for start in range(0, min(looked_at, _SHORT_BYTES) - BLOCK_BYTES + 1, BLOCK_BYTES):
        known = hash((known, prompt[start : start + BLOCK_BYTES]))
        hashes.append(known)
    for start in range(_SHORT_BYTES, looked_at - _LONG_BYTES + 1, _LONG_BYTES):
        known = hash((known, prompt[start : start + _LONG_BYTES]))
        hashes.append(known)
    return tuple(hashes)


def text_lengths(blocks: int) -> int:
    """How much text the first `blocks` blocks are together, in lengths of the first."""
    return blocks + max(0, blocks - SHORT_BLOCKS) * (LONG_BLOCK_RATIO - 1)


def token_steps(before: int, token_ids: Sequence[int]) -> list[int]:
    """The chain after each full step of 16 token ids that follow a chain at `before`."""
    known = before
    hashes = []
    last = len(token_ids) - len(token_ids) % TOKENS_PER_STEP
    for start in range(0, last, TOKENS_PER_STEP):
        known = hash((known, *token_ids[start : start + TOKENS_PER_STEP]))
        hashes.append(known)
    return hashes


def token_blocks(token_ids: Sequence[int]) -> tuple[int, ...]:
    """One hash for each full block of a prompt in token ids; of the first 262,144 of them."""
    steps = token_steps(0, token_ids[: _MOST_TOKEN_BLOCKS * BLOCK_TOKENS])
    return tuple(steps[_STEPS_PER_BLOCK - 1 :: _STEPS_PER_BLOCK])
