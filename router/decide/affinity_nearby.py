"""What one request finds on each replica, looked up when it is asked for. Pure.

A pick scores few replicas exactly, so nothing is computed of the others.
"""

from bisect import bisect_right
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

from router.decide.affinity_adapters import Adapters
from router.decide.affinity_events import EventIndex
from router.decide.affinity_nearness import Nearness
from router.decide.affinity_prefix import PrefixIndex, Way
from router.decide.affinity_sessions import Home
from router.decide.request_facts import RequestFacts
from router.decide.unit import Unit

_NOBODY: frozenset[str] = frozenset()

# At least the last token of a prompt is computed, or there would be nothing to sample from.
_LEAST_COMPUTED_TOKENS = 1.0


class Memory(Protocol):
    """Who remembers; `router.decide.affinity.Affinity` fits."""

    prefixes: PrefixIndex
    events: EventIndex
    adapters: Adapters

    def trust_ratio(self, address: str, *, now_seconds: float) -> float:
        """By what predictions for a replica are multiplied, from 0 to 1."""
        ...


class AdapterLoad(NamedTuple):
    """What a load takes, and the tokens of a mean answer, after which a slot is free."""

    load_seconds: float
    output_tokens: float


class RequestNearby:
    """Of one request to every replica, at one moment."""

    __slots__ = (
        "_facts",
        "_hashes",
        "_home",
        "_known",
        "_load",
        "_memory",
        "_now_seconds",
        "_prompt_tokens",
        "_units",
        "_way",
    )

    def __init__(
        self,
        memory: Memory,
        facts: RequestFacts,
        hashes: tuple[int, ...],
        home: Home | None,
        units: Mapping[str, Unit],
        *,
        prompt_tokens: float,
        load: AdapterLoad | None,
        now_seconds: float,
    ) -> None:
        """Look nothing up yet.

        Args:
            memory: What is known.
            facts: The request.
            hashes: Of its prompt's blocks, as those of one model.
            home: Where its session was served last.
            units: By address.
            prompt_tokens: Its estimated length.
            load: Of the adapter that it asks for, else None.
            now_seconds: Monotonic time.
        """
        self._memory, self._facts, self._hashes, self._home = memory, facts, hashes, home
        self._units, self._prompt_tokens = units, prompt_tokens
        self._load = load
        self._now_seconds = now_seconds
        self._known: dict[str, Nearness] = {}
        self._way: Way | None = None

    def at(self, address: str) -> Nearness:
        """To one replica."""
        near = self._known.get(address)
        if near is None:
            near = self._known[address] = self._look_up(address)
        return near

    def beyond(self, here: Nearness) -> AbstractSet[str]:
        """Addresses among which are all that have more of the prompt, or less to load."""
        more = self._with_more(here.cached_tokens)
        if self._load is None or here.load_seconds <= 0.0:
            return more
        if here.load_seconds > self._load.load_seconds:  # its slots are held: anywhere is sooner
            return self._units.keys()
        return more | self._memory.adapters.loaded(self._facts.model)

    def _with_more(self, cached_tokens: float) -> AbstractSet[str]:
        most_tokens = self._prompt_tokens - _LEAST_COMPUTED_TOKENS
        if cached_tokens >= most_tokens:
            return _NOBODY
        found = set() if self._home is None else {self._home.address}
        if self._hashes:
            way = self._along()
            if self._tokens(way.blocks) > cached_tokens:  # else nobody was sent more of it
                # As many blocks as do not make more, in the very numbers that are compared later.
                blocks = bisect_right(range(1, way.blocks), cached_tokens, key=self._tokens)
                found.update(way.holders(blocks))
            if self._facts.prompt_tokens is not None:
                found |= self._memory.events.telling()
        return found

    def _along(self) -> Way:
        if self._way is None:
            self._way = self._memory.prefixes.way(self._hashes)
        return self._way

    def _tokens(self, blocks: int) -> float:
        return self._facts.prefix_part(blocks) * self._prompt_tokens

    def _look_up(self, address: str) -> Nearness:
        believed_tokens = self._believed(address)
        cached_tokens = believed_tokens and believed_tokens * self._memory.trust_ratio(
            address, now_seconds=self._now_seconds
        )
        load_seconds = 0.0
        if self._load is not None:
            objective = self._units[address].backend.objective
            load_seconds = self._memory.adapters.load_seconds(
                address,
                self._facts.model,
                load_seconds=self._load.load_seconds,
                wait_seconds=self._load.output_tokens * objective.tpot_seconds,
            )
        return Nearness(cached_tokens, believed_tokens, load_seconds)

    def _believed(self, address: str) -> float:
        """Prompt tokens that the replica has, by all that is known, before trust."""
        facts, hashes, home = self._facts, self._hashes, self._home
        most = max(0.0, self._prompt_tokens - _LEAST_COMPUTED_TOKENS)
        blocks = 0
        if hashes:
            blocks = self._along().blocks_at(address)
            if facts.prompt_tokens is not None:  # engines tell of token ids only
                blocks = self._memory.events.matching_blocks(
                    address, facts.model, facts.prefix_block_hashes, learned=blocks
                )
        tokens = self._tokens(blocks)
        if home is not None and home.address == address and (not hashes or blocks >= home.blocks):
            # The conversation goes on, so the last answer is part of the prompt as well.
            tokens = max(tokens, home.prompt_tokens + home.answer_tokens)
        return min(tokens, most)
