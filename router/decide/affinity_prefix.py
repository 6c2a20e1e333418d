"""Which prompt blocks each replica is believed to have cached: what was sent there lately. Pure.

One least-recently-used list per replica, as long as its KV cache, so that belief ends about when
the engine's own does. A prompt is entered tail first: a block is never younger than the blocks
before it, so what is believed of a prompt is always a beginning of it. Who has a prompt's first
block is kept apart, so that a prompt that nobody has costs no search.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence

Holders = dict[int, tuple[str, ...]]
"""First block of a prompt -> addresses of those that have it."""


class ReplicaPrefixes:
    """The blocks of one replica.

    Attributes:
        capacity_blocks: How many are remembered.
    """

    __slots__ = ("_address", "_firsts", "_known", "capacity_blocks")

    def __init__(
        self, capacity_blocks: int, address: str = "", firsts: Holders | None = None
    ) -> None:
        """Empty.

        Args:
            capacity_blocks: How many are remembered.
            address: The replica's.
            firsts: Where it says which first blocks it has.
        """
        self.capacity_blocks = capacity_blocks
        self._address = address
        self._firsts: Holders = {} if firsts is None else firsts
        self._known: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        """Blocks remembered."""
        return len(self._known)

    def __contains__(self, block_hash: int) -> bool:
        """Whether a block is believed cached."""
        return block_hash in self._known

    def matching_blocks(self, hashes: Sequence[int]) -> int:
        """How many leading `hashes` are believed cached; a search by halves, not a walk."""
        known = self._known
        if not hashes or hashes[0] not in known:
            return 0
        return bisect_left(hashes, True, key=lambda block_hash: block_hash not in known)

    def record(self, hashes: Sequence[int]) -> None:
        """A prompt was sent here; its beginning is the last to be forgotten."""
        known = self._known
        if hashes and hashes[0] not in known and self.capacity_blocks > 0:
            self._firsts[hashes[0]] = (*self._firsts.get(hashes[0], ()), self._address)
        for block_hash in reversed(hashes[: self.capacity_blocks]):
            known[block_hash] = None
            known.move_to_end(block_hash)
        self._shrink()

    def resize(self, capacity_blocks: int) -> None:
        """Remember this many from now on."""
        self.capacity_blocks = capacity_blocks
        self._shrink()

    def clear(self) -> None:
        """Forget all."""
        for block_hash in self._known.keys() & self._firsts.keys():
            self._leave(block_hash)
        self._known.clear()

    def _shrink(self) -> None:
        while len(self._known) > self.capacity_blocks:
            block_hash, _ = self._known.popitem(last=False)
            if block_hash in self._firsts:
                self._leave(block_hash)

    def _leave(self, first: int) -> None:
        others = tuple(it for it in self._firsts[first] if it != self._address)
        if others:
            self._firsts[first] = others
        else:
            del self._firsts[first]


class PrefixIndex:
    """All replicas' blocks.

    Attributes:
        most_blocks: Bound over all replicas; each gets an equal part at most.
    """

    __slots__ = ("_firsts", "_replicas", "most_blocks")

    def __init__(self, *, most_blocks: int) -> None:
        """Without replicas."""
        self.most_blocks = most_blocks
        self._replicas: dict[str, ReplicaPrefixes] = {}
        self._firsts: Holders = {}

    def __len__(self) -> int:
        """Blocks remembered of all replicas."""
        return sum(map(len, self._replicas.values()))

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Forget replicas that are gone, and make room for those that are new."""
        share = self._share(len(addresses))
        for address in self._replicas.keys() - addresses:
            self._replicas[address].clear()
        self._replicas = {
            address: self._replicas.get(address) or ReplicaPrefixes(share, address, self._firsts)
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
        self._replicas[address].clear()

    def matching_blocks(self, address: str, hashes: Sequence[int]) -> int:
        """How many leading `hashes` a replica is believed to have."""
        return self._replicas[address].matching_blocks(hashes)

    def is_anywhere(self, hashes: Sequence[int]) -> bool:
        """Whether any replica is believed to have the first of `hashes`."""
        return bool(hashes) and hashes[0] in self._firsts

    def holders(self, hashes: Sequence[int], index: int) -> Iterator[str]:
        """Replicas that are believed to have `hashes` up to the one at `index`."""
        if index < len(hashes):
            block_hash, replicas = hashes[index], self._replicas
            for address in self._firsts.get(hashes[0], ()):
                if block_hash in replicas[address]:
                    yield address

    def record(self, address: str, hashes: Sequence[int]) -> None:
        """A prompt was sent there."""
        self._replicas[address].record(hashes)

    def _share(self, replicas: int) -> int:
        return max(1, self.most_blocks // max(1, replicas))
