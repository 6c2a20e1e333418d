"""The KV blocks of each request: room for its tokens, and the prompt prefix it shares.

Pure; the rules between one request and the `BlockPool` all requests draw from.
"""

# ruff: noqa: SLF001 (the underscored fields of a request belong to its engine, of which this is part)

from loadtest.engine_state import EngineRequest
from loadtest.kv_blocks import BlockPool


class KvCache:
    """Gives requests blocks and takes them back.

    Attributes:
        block_tokens: Tokens of one block.
    """

    __slots__ = ("_pool", "_prefix_caching", "block_tokens")

    def __init__(self, *, capacity_tokens: int, block_tokens: int, prefix_caching: bool) -> None:
        self.block_tokens = block_tokens
        self._pool = BlockPool(capacity_tokens // block_tokens)
        self._prefix_caching = prefix_caching

    @property
    def usage_ratio(self) -> float:
        """Part of the blocks that running requests hold."""
        return self._pool.used_blocks / self._pool.total_blocks

    @property
    def capacity_tokens(self) -> int:
        """Tokens of all blocks."""
        return self._pool.total_blocks * self.block_tokens

    @property
    def used_tokens(self) -> int:
        """Tokens of the blocks that running requests hold."""
        return self._pool.used_blocks * self.block_tokens

    def room_tokens(self, request: EngineRequest) -> int:
        """Tokens that the request's blocks hold."""
        return (request._plain_blocks + len(request._held)) * self.block_tokens

    def extend(self, request: EngineRequest, *, tokens: int) -> bool:
        """Make room for `tokens` in all; False, and nothing taken, when the pool has none."""
        missing_tokens = tokens - self.room_tokens(request)
        if missing_tokens <= 0:
            return True
        blocks = -(-missing_tokens // self.block_tokens)
        if not self._pool.take(blocks):
            return False
        request._plain_blocks += blocks
        return True

    def hold_prefix(self, request: EngineRequest) -> None:
        """Use what is cached of the prompt; one token at least is always left to compute."""
        if not self._prefix_caching or not request.block_hashes:
            return
        usable_blocks = (request.prompt_tokens - 1) // self.block_tokens
        hashes = request.block_hashes[:usable_blocks]
        hashes = hashes[: self._pool.matching_blocks(hashes)]
        self._pool.hold(hashes)
        request._held.extend(hashes)
        request._remembered_blocks = len(hashes)
        request._computed_tokens = len(hashes) * self.block_tokens

    def remember_prompt(self, request: EngineRequest) -> None:
        """Keep the prompt blocks that are now full for requests with the same prefix."""
        if not self._prefix_caching:
            return
        full_blocks = min(request._computed_tokens // self.block_tokens, len(request.block_hashes))
        for index in range(request._remembered_blocks, full_blocks):
            block_hash = request.block_hashes[index]
            if self._pool.remember(block_hash):
                request._plain_blocks -= 1
                request._held.append(block_hash)
        request._remembered_blocks = max(request._remembered_blocks, full_blocks)

    def release(self, request: EngineRequest) -> None:
        """Take everything back; what was computed is lost but for the cached prompt."""
        self._pool.release(plain_blocks=request._plain_blocks, held=request._held)
        request._plain_blocks = 0
        request._held.clear()
        request._remembered_blocks = 0
        request._computed_tokens = 0

    def forget(self) -> None:
        """Drop every cached prompt that no request holds."""
        self._pool.forget()
