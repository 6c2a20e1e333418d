"""Chained hashes of a prompt's blocks: equal leading hashes stand for equal beginnings. Pure.

A block's hash covers the block and all before it, as in an engine's prefix cache. The hash is
Python's own (SipHash for bytes, keyed at random per process), so values mean nothing outside the
process, and nobody outside can construct two prompts that collide.
"""

from collections.abc import Sequence

BLOCK_BYTES = 256
"""Text of a block; about 64 tokens of English, four blocks of vLLM's default size."""

TOKENS_PER_STEP = 16
"""Token ids that are hashed at once: vLLM's default block."""

BLOCK_TOKENS = 64
"""Token ids of a block, where the prompt was given as ids."""

_MOST_BLOCKS = 4096
_STEPS_PER_BLOCK = BLOCK_TOKENS // TOKENS_PER_STEP


def text_blocks(prompt: bytes) -> tuple[int, ...]:
    """One hash for each full block of a prompt in text.

    Args:
        prompt: As JSON, so that a longer conversation begins with the same bytes; whatever else
            the engine's cache depends on (salt, tools) stands in front.

    Returns:
        At most 4,096 hashes: the first MiB of a prompt is looked at.
    """
    known = 0
    hashes = []
    last = min(len(prompt) - len(prompt) % BLOCK_BYTES, _MOST_BLOCKS * BLOCK_BYTES)
    for start in range(0, last, BLOCK_BYTES):
        known = hash((known, prompt[start : start + BLOCK_BYTES]))
        hashes.append(known)
    return tuple(hashes)


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
    steps = token_steps(0, token_ids[: _MOST_BLOCKS * BLOCK_TOKENS])
    return tuple(steps[_STEPS_PER_BLOCK - 1 :: _STEPS_PER_BLOCK])
