"""Which prompt blocks each replica is believed to have cached: what was sent there lately. Pure.

Per replica the least recently used blocks are forgotten, as many as its KV cache does not hold, so
that belief ends about when the engine's own does. Of a prompt the end goes first: a block is never
younger than the blocks before it, so what is believed of a prompt is always a beginning of it.
"""

from collections import OrderedDict
from collections.abc import Sequence

from router.decide.affinity_runs import Held, Run, RunTree

PROMPT_BLOCKS = 12
"""What a prompt takes beside its blocks, in blocks: some 600 bytes of runs and their order."""


class _Replica:
    """What one replica has.

    Attributes:
        blocks: How many.
        capacity_blocks: How many at most.
        last_runs: The runs that prompts ended with, the least recently sent first. What of such a
            prompt was not part of a later one as well is what goes first.
    """

    __slots__ = ("blocks", "capacity_blocks", "last_runs")

    def __init__(self, capacity_blocks: int) -> None:
        self.blocks = 0
        self.capacity_blocks = capacity_blocks
        self.last_runs: OrderedDict[Run, int] = OrderedDict()


class Way:
    """A prompt's runs, from its beginning as far as anybody has them.

    Attributes:
        blocks: How many leading blocks that is.
    """

    __slots__ = ("_steps", "blocks")

    def __init__(self, steps: list[tuple[Run, int, int]]) -> None:
        """Keep what `RunTree.along` found."""
        self._steps = steps
        self.blocks = steps[-1][1] + steps[-1][2] if steps else 0

    def blocks_at(self, address: str) -> int:
        """How many leading blocks a replica is believed to have."""
        found = 0
        for run, start, matching in self._steps:
            held = run.holders.get(address)
            if held is None:
                break
            found = start + min(held.blocks, matching)
        return found

    def holders(self, index: int) -> list[str]:
        """Replicas that are believed to have the blocks up to the one at `index`."""
        for run, start, matching in self._steps:
            if index < start + matching:
                need = index - start
                return [a for a, held in run.holders.items() if held.blocks > need]
        return []


class PrefixIndex:
    """All replicas' blocks.

    Attributes:
        most_blocks: Bound over all replicas, in which each prompt that is remembered counts as 12
            blocks more; each replica gets an equal part at most, and one prompt at least.
    """

    __slots__ = ("_replicas", "_touched", "_tree", "most_blocks")

    def __init__(self, *, most_blocks: int) -> None:
        """Without replicas."""
        self.most_blocks = most_blocks
        self._replicas: dict[str, _Replica] = {}
        self._tree = RunTree()
        self._touched = 0

    def __len__(self) -> int:
        """Blocks remembered of all replicas."""
        return sum(replica.blocks for replica in self._replicas.values())

    @property
    def runs(self) -> int:
        """Runs of blocks that these are kept in."""
        return len(self._tree)

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Forget replicas that are gone, and make room for those that are new."""
        share = self._share(len(addresses))
        for address in self._replicas.keys() - addresses:
            self.forget(address)
        self._replicas = {
            address: self._replicas.get(address) or _Replica(share) for address in sorted(addresses)
        }
        for address, replica in self._replicas.items():
            self._set_capacity(address, min(share, replica.capacity_blocks))

    def resize(self, address: str, capacity_blocks: int) -> None:
        """A replica's cache holds this many blocks."""
        share = self._share(len(self._replicas))
        self._set_capacity(address, max(1, min(capacity_blocks, share)))

    def forget(self, address: str) -> None:
        """A replica's cache was emptied, or the replica restarted."""
        self._shrink(address, self._replicas[address], 0)

    def way(self, hashes: Sequence[int]) -> Way:
        """Where `hashes` lead, to be asked about several replicas before anything changes."""
        return Way(list(self._tree.along(hashes)))

    def is_anywhere(self, hashes: Sequence[int]) -> bool:
        """Whether any replica is believed to have the first of `hashes`."""
        return bool(hashes) and hashes[0] in self._tree

    def record(self, address: str, hashes: Sequence[int]) -> None:
        """A prompt was sent there; its beginning is the last to be forgotten."""
        replica = self._replicas[address]
        self._touched = touched = self._touched + 1
        last = None
        for last in self._tree.grow(hashes[: replica.capacity_blocks]):
            before, blocks = last.holders.get(address), len(last.hashes)
            last.holders[address] = Held(touched, blocks)
            replica.blocks += blocks if before is None else blocks - before.blocks
            replica.last_runs.pop(last, None)  # all that ended here is part of this prompt
        if last is not None:
            replica.last_runs[last] = touched
            self._shrink(address, replica, replica.capacity_blocks)

    def _share(self, replicas: int) -> int:
        return max(1, self.most_blocks // max(1, replicas))

    def _set_capacity(self, address: str, capacity_blocks: int) -> None:
        replica = self._replicas[address]
        replica.capacity_blocks = capacity_blocks
        self._shrink(address, replica, capacity_blocks)

    def _shrink(self, address: str, replica: _Replica, most_blocks: int) -> None:
        prompts, share = replica.last_runs, self._share(len(self._replicas))
        while replica.blocks > most_blocks:
            last, touched = next(iter(prompts.items()))
            if not self._trim(address, replica, last, touched, most_blocks):
                del prompts[last]
        while len(prompts) > 1 and replica.blocks + PROMPT_BLOCKS * len(prompts) > share:
            last, touched = prompts.popitem(last=False)
            self._trim(address, replica, last, touched, 0)

    def _trim(
        self, address: str, replica: _Replica, last: Run, touched: int, most_blocks: int
    ) -> bool:
        """Forget from the end of a prompt what no later one has; whether any of that is left."""
        run: Run | None = last
        while run is not None:
            held = run.holders.get(address)
            if held is not None:
                if held.touched != touched:
                    return False
                left = max(0, held.blocks - (replica.blocks - most_blocks))
                replica.blocks -= held.blocks - left
                if left:
                    run.holders[address] = Held(touched, left)
                    return True
                del run.holders[address]
                if not run.holders:
                    self._tree.drop(run)
            run = run.before
        return False
