"""Which prompt blocks each replica is believed to have cached: what was sent there lately. Pure.

One least-recently-used list per replica, as long as its KV cache, so that belief ends about when
the engine's own does. A prompt is entered tail first: a block is never younger than the blocks
before it, so what is believed of a prompt is always a beginning of it.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence


class ReplicaPrefixes:
    """The blocks of one replica.

    Attributes:
        capacity_blocks: How many are remembered.
    """

    __slots__ = ("_known", "capacity_blocks")

    def __init__(self, capacity_blocks: int) -> None:
        """Empty."""
        self.capacity_blocks = capacity_blocks
        self._known: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        """Blocks remembered."""
        return len(self._known)

    def matching_blocks(self, hashes: Sequence[int]) -> int:
        """How many leading `hashes` are believed cached; a search by halves, not a walk."""
        known = self._known
        if not hashes or hashes[0] not in known:
            return 0
        return bisect_left(hashes, True, key=lambda block_hash: block_hash not in known)

    def record(self, hashes: Sequence[int]) -> None:
        """A prompt was sent here; its beginning is the last to be forgotten."""
        known = self._known
        for block_hash in reversed(hashes[: self.capacity_blocks]):
            known[block_hash] = None
            known.move_to_end(block_hash)
        self._shrink()

    def resize(self, capacity_blocks: int) -> None:
        """Remember this many from now on."""
        self.capacity_blocks = capacity_blocks
        self._shrink()

    def _shrink(self) -> None:
        while len(self._known) > self.capacity_blocks:
            self._known.popitem(last=False)


class PrefixIndex:
    """All replicas' blocks.

    Attributes:
        most_blocks: Bound over all replicas; each gets an equal part at most.
    """

    __slots__ = ("_replicas", "most_blocks")

    def __init__(self, *, most_blocks: int) -> None:
        """Without replicas."""
        self.most_blocks = most_blocks
        self._replicas: dict[str, ReplicaPrefixes] = {}

    def __len__(self) -> int:
        """Blocks remembered of all replicas."""
        return sum(map(len, self._replicas.values()))

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Forget replicas that are gone, and make room for those that are new."""
        share = self._share(len(addresses))
        self._replicas = {
            address: self._replicas.get(address) or ReplicaPrefixes(share)
            for address in sorted(addresses)
        }
        for prefixes in self._replicas.values():
            prefixes.resize(min(share, prefixes.capacity_blocks))

    def resize(self, address: str, capacity_blocks: int) -> None:
        """A replica's cache holds this many blocks."""
        share = self._share(len(self._replicas))
        self._replicas[address].resize(max(1, min(capacity_blocks, share)))

    def forget(self, address: str) -> None:
        """A replica's cache was emptied, or the replica restarted."""
        self._replicas[address] = ReplicaPrefixes(self._replicas[address].capacity_blocks)

    def matching_blocks(self, address: str, hashes: Sequence[int]) -> int:
        """How many leading `hashes` a replica is believed to have."""
        return self._replicas[address].matching_blocks(hashes)

    def record(self, address: str, hashes: Sequence[int]) -> None:
        """A prompt was sent there."""
        self._replicas[address].record(hashes)

    def _share(self, replicas: int) -> int:
        return max(1, self.most_blocks // max(1, replicas))
