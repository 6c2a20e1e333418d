"""Which blocks of token ids each engine has, as engines tell in vLLM's KV events. Pure.

An engine names blocks by hashes of its own, which depend on its settings; but it also tells the
token ids of every block that it stores. So its names are only used to follow its chains, and what
prompts are compared with is our own hash of the same ids. Prompts in text cannot be compared
without the model's tokenizer and template: for those the learned index stands.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from router.decide.affinity_blocks import TOKENS_PER_STEP, token_steps

BlockName = int | bytes


class BlocksStored(NamedTuple):
    """An engine has computed blocks that follow each other.

    Attributes:
        names: The engine's names for them, in order.
        parent: Its name for the block before the first, None at the beginning of a prompt.
        token_ids: Of all of them.
        block_tokens: Token ids of each.
        adapter: LoRA adapter they were computed with, or None.
        plain: Whether token ids and adapter are all that they depend on: no image, no salt.
    """

    names: tuple[BlockName, ...]
    parent: BlockName | None
    token_ids: Sequence[int]
    block_tokens: int
    adapter: str | None = None
    plain: bool = True


class BlocksRemoved(NamedTuple):
    """An engine has given blocks up."""

    names: tuple[BlockName, ...]


class AllCleared(NamedTuple):
    """An engine has emptied its cache."""


KvEvent = BlocksStored | BlocksRemoved | AllCleared


class _Stored(NamedTuple):
    """A block of an engine: our chain after each of its steps, and whose."""

    adapter: str | None
    chains: tuple[int, ...]


class EngineBlocks:
    """What one engine has, as it told.

    Attributes:
        most_blocks: How many are followed.
        complete: Whether all was heard since its cache was empty.
    """

    __slots__ = ("_chains", "_stored", "complete", "most_blocks")

    def __init__(self, most_blocks: int, *, complete: bool) -> None:
        """Nothing yet."""
        self.most_blocks = most_blocks
        self.complete = complete
        self._stored: dict[BlockName, _Stored] = {}
        self._chains: dict[str | None, set[int]] = {}

    def __len__(self) -> int:
        """Blocks that are followed."""
        return len(self._stored)

    def apply(self, event: KvEvent) -> None:
        """Follow one event."""
        if isinstance(event, BlocksStored):
            self._store(event)
        elif isinstance(event, BlocksRemoved):
            for name in event.names:
                self._remove(name)
        else:
            self._stored.clear()
            self._chains.clear()
            self.complete = True

    def matching_blocks(self, model: str, hashes: Sequence[int]) -> int:
        """How many leading blocks of a prompt (see token_blocks) the engine has."""
        chains = self._chains.get(model) or self._chains.get(None) or ()
        for count, chain in enumerate(hashes):
            if chain not in chains:
                return count
        return len(hashes)

    def _store(self, event: BlocksStored) -> None:
        chain = 0
        if event.parent is not None:
            parent = self._stored.get(event.parent)
            if parent is None:  # stored before we listened: where this chain begins is unknown
                return
            chain = parent.chains[-1]
        if event.block_tokens % TOKENS_PER_STEP or event.block_tokens <= 0:
            self.complete = False
            return
        if not event.plain:
            return
        steps = event.block_tokens // TOKENS_PER_STEP
        chains = token_steps(chain, event.token_ids)
        for number, name in enumerate(event.names):
            inside = tuple(chains[number * steps : (number + 1) * steps])
            if len(inside) < steps:  # fewer ids than blocks
                return
            self._remove(name)
            if len(self._stored) >= self.most_blocks:
                self.complete = False
                return
            self._stored[name] = _Stored(event.adapter, inside)
            self._chains.setdefault(event.adapter, set()).update(inside)

    def _remove(self, name: BlockName) -> None:
        stored = self._stored.pop(name, None)
        if stored is not None:
            self._chains[stored.adapter].difference_update(stored.chains)


class EventIndex:
    """All engines that publish events; of the others nothing is known here."""

    __slots__ = ("_addresses", "_engines", "most_blocks")

    def __init__(self, *, most_blocks: int) -> None:
        """Without engines."""
        self.most_blocks = most_blocks
        self._addresses: frozenset[str] = frozenset()
        self._engines: dict[str, EngineBlocks] = {}

    def __len__(self) -> int:
        """Blocks followed, of all engines."""
        return sum(map(len, self._engines.values()))

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Forget replicas that are gone; those that are listed may begin to tell."""
        self._addresses = addresses
        share = max(1, self.most_blocks // max(1, len(addresses)))
        self._engines = {a: engine for a, engine in self._engines.items() if a in addresses}
        for engine in self._engines.values():
            engine.most_blocks = share

    def begin(self, address: str, *, complete: bool) -> None:
        """An engine's stream begins, or began anew.

        Args:
            address: The replica.
            complete: Whether from its first event on; else what it had before is not known.
        """
        if address in self._addresses:
            share = max(1, self.most_blocks // len(self._addresses))
            self._engines[address] = EngineBlocks(share, complete=complete)

    def lose(self, address: str) -> None:
        """Events were missed: nothing is known of the engine until its stream begins anew."""
        self._engines.pop(address, None)

    def apply(self, address: str, event: KvEvent) -> None:
        """Follow one event of an engine whose stream has begun."""
        engine = self._engines.get(address)
        if engine is not None:
            engine.apply(event)

    def telling(self) -> AbstractSet[str]:
        """Engines of which something is known."""
        return self._engines.keys()

    def matching_blocks(
        self, address: str, model: str, hashes: Sequence[int], *, learned: int
    ) -> int:
        """Leading blocks that the engine has; where it did not tell all, at least `learned`."""
        engine = self._engines.get(address)
        if engine is None:
            return learned
        told = engine.matching_blocks(model, hashes)
        return told if engine.complete else max(told, learned)
