"""Mooncake: JSON lines with the ids of the prompt's blocks, so that shared prefixes are known.

One object per line: `timestamp` (milliseconds), `input_length` and `output_length` (tokens) and
`hash_ids`, one per block of 512 prompt tokens, the last of which may be partial; equal ids mean
that the blocks and all before them are equal. Source: github.com/kvcache-ai/Mooncake, Apache-2.0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from loadtest.traces.errors import TraceError
from loadtest.traces.fields import MAX_TOKENS
from loadtest.traces.lines import text_lines
from loadtest.traces.rows import DEFAULT_BLOCK_TOKENS, Row

# Finer a float of epoch milliseconds cannot tell.
_NANOSECONDS_PER_MICROSECOND = 1_000
_MAX_MILLISECONDS = 10**15  # beyond any clock

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class _Line(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=-_MAX_MILLISECONDS, le=_MAX_MILLISECONDS)]
    input_length: _Tokens
    output_length: _Tokens
    hash_ids: tuple[int, ...] = ()


def mooncake_rows(
    path: Path, *, model: str, block_tokens: int = DEFAULT_BLOCK_TOKENS
) -> Iterator[Row]:
    """The rows one by one; blank lines and further keys are passed over.

    Args:
        path: The file.
        model: Set on each, as the format names none.
        block_tokens: Length of the blocks that `hash_ids` stand for.

    Raises:
        TraceError: While iterating: a file that cannot be read, a line that is not such an object,
            more ids than the prompt has blocks.
    """
    decoder = msgspec.json.Decoder(_Line)
    for line, text in enumerate(text_lines(path), start=1):
        written = text.strip()
        if not written:
            continue
        try:
            request = decoder.decode(written)
        except msgspec.DecodeError as error:
            raise TraceError(path, line, f"is not a Mooncake request: {error}") from error
        if len(request.hash_ids) > -(-request.input_length // block_tokens):
            raise TraceError(
                path,
                line,
                f"{len(request.hash_ids)} hash_ids are more than {request.input_length} prompt "
                f"tokens have blocks of {block_tokens}; give the block length of the file",
            )
        yield Row(
            line,
            round(request.timestamp * 1e3) * _NANOSECONDS_PER_MICROSECOND,
            written,
            request.input_length,
            request.output_length,
            model,
            prefix_blocks=request.hash_ids,
            prefix_block_tokens=block_tokens,
        )
