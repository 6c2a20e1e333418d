"""What one request finds on each replica, looked up when it is asked for. Pure.

A pick scores few replicas exactly, so nothing is computed of the others.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from router.decide.affinity_adapters import Adapters
from router.decide.affinity_events import EventIndex
from router.decide.affinity_nearness import Nearness
from router.decide.affinity_prefix import PrefixIndex
from router.decide.affinity_sessions import Home
from router.decide.request_facts import RequestFacts
from router.decide.unit import Unit

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

    def at(self, address: str) -> Nearness:
        """To one replica."""
        near = self._known.get(address)
        if near is None:
            near = self._known[address] = self._look_up(address)
        return near

    def beyond(self, here: Nearness) -> Iterable[str]:
        """Addresses among which are all that have more of the prompt, or less to load."""
        if self._load is not None:
            return self._units
        return set(self._with_more(here.cached_tokens))

    def _with_more(self, cached_tokens: float) -> Iterator[str]:
        most_tokens = self._prompt_tokens - _LEAST_COMPUTED_TOKENS
        if cached_tokens >= most_tokens:
            return
        if self._home is not None:
            yield self._home.address
        if not self._hashes:
            return
        # As many blocks as do not yet make more, in the very numbers that are compared later.
        blocks = bisect_right(range(1, len(self._hashes) + 1), cached_tokens, key=self._tokens)
        yield from self._memory.prefixes.holders(self._hashes, blocks)
        if self._facts.prompt_tokens is not None:
            yield from self._memory.events.telling()

    def _tokens(self, blocks: int) -> float:
        return blocks * self._facts.prefix_block_ratio * self._prompt_tokens

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
            blocks = self._memory.prefixes.matching_blocks(address, hashes)
            if facts.prompt_tokens is not None:  # engines tell of token ids only
                blocks = self._memory.events.matching_blocks(
                    address, facts.model, facts.prefix_block_hashes, learned=blocks
                )
        tokens = self._tokens(blocks)
        if home is not None and home.address == address and (not hashes or blocks >= home.blocks):
            # The conversation goes on, so the last answer is part of the prompt as well.
            tokens = max(tokens, home.prompt_tokens + home.answer_tokens)
        return min(tokens, most)
