"""The KV cache of one engine as a pool of blocks, some of which remember the prompt they hold.

Pure bookkeeping, in vLLM's terms: a block is *plain* (private to one request), *cached and held*
(full block of a prompt, shared by every running request with that prefix) or *cached and unheld*
(kept for the next request with that prefix until room is needed: least recently released first).
Only counts and hashes exist; no block has an identity beyond its hash, which is what makes a step
cost nothing per token.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """Counts of plain blocks, reference counts of cached ones.

    Attributes:
        total_blocks: Capacity.
        plain_blocks: Private blocks in use now.
    """

    __slots__ = ("_holders", "_unheld", "plain_blocks", "total_blocks")

    def __init__(self, total_blocks: int) -> None:
        if total_blocks < 1:
            raise ValueError(f"a KV cache needs at least one block, not {total_blocks}")
        self.total_blocks = total_blocks
        self.plain_blocks = 0
        self._holders: dict[int, int] = {}  # hash -> running requests that hold it
        self._unheld: OrderedDict[int, None] = OrderedDict()  # oldest release first

    @property
    def used_blocks(self) -> int:
        """Blocks that running requests hold: what `kv_cache_usage_perc` counts."""
        return self.plain_blocks + len(self._holders) - len(self._unheld)

    @property
    def cached_blocks(self) -> int:
        """Blocks with a remembered prompt, held or not."""
        return len(self._holders)

    def matching_blocks(self, hashes: Sequence[int]) -> int:
        """How many leading `hashes` are cached."""
        holders = self._holders
        for count, block_hash in enumerate(hashes):
            if block_hash not in holders:
                return count
        return len(hashes)

    def hold(self, hashes: Iterable[int]) -> None:
        """One more request uses these cached blocks. All of them must be cached."""
        for block_hash in hashes:
            if self._holders[block_hash] == 0:
                del self._unheld[block_hash]
            self._holders[block_hash] += 1

    def take(self, blocks: int) -> bool:
        """Take plain blocks, forgetting the oldest unheld prompts for room; all or nothing."""
        empty_blocks = self.total_blocks - self.plain_blocks - len(self._holders)
        missing_blocks = blocks - empty_blocks
        if missing_blocks > len(self._unheld):
            return False
        for _ in range(missing_blocks):
            block_hash, _none = self._unheld.popitem(last=False)
            del self._holders[block_hash]
        self.plain_blocks += blocks
        return True

    def remember(self, block_hash: int) -> bool:
        """Turn one plain block of a request into a cached one that it holds.

        Returns:
            False when another request computed the same block first: the plain one stays plain.
        """
        if block_hash in self._holders:
            return False
        self._holders[block_hash] = 1
        self.plain_blocks -= 1
        return True

    def release(self, *, plain_blocks: int, held: Sequence[int]) -> None:
        """A request lets go of everything. Tails go first when room is needed, as in vLLM."""
        self.plain_blocks -= plain_blocks
        for block_hash in reversed(held):
            self._holders[block_hash] -= 1
            if self._holders[block_hash] == 0:
                self._unheld[block_hash] = None

    def forget(self) -> None:
        """Drop every unheld prompt (the engine went to sleep)."""
        for block_hash in self._unheld:
            del self._holders[block_hash]
        self._unheld.clear()
