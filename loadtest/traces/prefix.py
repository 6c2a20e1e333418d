"""What prompts of a trace share, in the blocks of an engine's prefix cache. Pure."""

from loadtest.arrivals import Arrival


def engine_block_hashes(arrival: Arrival, *, block_size_tokens: int) -> tuple[int, ...]:
    """Hashes of the prompt's full engine blocks: equal prefixes give equal leading hashes.

    An engine block is as good as known when the trace's block with its *last* token is, since a
    trace's id stands for everything before it as well. Prompts that part within a trace's block
    count as parting at its start, so sharing is never overstated.

    Args:
        arrival: With `prefix_blocks`, or without: then nothing is known to be shared.
        block_size_tokens: Length of the engine's blocks (vLLM: 16), at least 1.

    Returns:
        At most one hash per full block; fewer when the trace tells less.
    """
    known_tokens = min(
        arrival.prompt_tokens, len(arrival.prefix_blocks) * arrival.prefix_block_tokens
    )
    # Room for the engine blocks that end within one trace block, so that no two hashes collide.
    stride = arrival.prefix_block_tokens // block_size_tokens + 1
    hashes = []
    for end in range(block_size_tokens, known_tokens + 1, block_size_tokens):
        index, offset = divmod(end - 1, arrival.prefix_block_tokens)
        hashes.append(arrival.prefix_blocks[index] * stride + offset // block_size_tokens)
    return tuple(hashes)
