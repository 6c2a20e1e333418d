"""What a request would find on each replica because of what was sent there before. Pure.

Everything is said in tokens that need not be computed and in seconds that must be waited; joules
and guards follow from those where they are computed anyway (`router.decide.unit`). See
docs/affinity.md.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import FleetSnapshot
from router.decide.affinity_adapters import Adapters
from router.decide.affinity_blocks import BLOCK_TOKENS
from router.decide.affinity_choice import session_verdict
from router.decide.affinity_events import EventIndex
from router.decide.affinity_nearby import AdapterLoad, RequestNearby
from router.decide.affinity_prefix import PrefixIndex
from router.decide.affinity_sessions import Home, Sessions, SessionVerdict
from router.decide.affinity_trust import Trust
from router.decide.demand import Demand
from router.decide.request_facts import RequestFacts
from router.decide.settings import DecideSettings
from router.decide.unit import Unit

_REPLICAS_PER_STEP = 64


class Affinity:
    """Remembers where prompts, sessions and adapters are.

    Attributes:
        prefixes: Learned from own picks.
        events: Told by engines that publish KV events.
        sessions: By header.
        adapters: Told by engines and learned from own picks.
        verdicts: Picks of requests with a session, by what became of it.
    """

    __slots__ = (
        "_block_tokens",
        "_restarts",
        "_salted",
        "_settings",
        "_trust",
        "adapters",
        "events",
        "prefixes",
        "sessions",
        "verdicts",
    )

    def __init__(self, settings: DecideSettings) -> None:
        """Nothing known."""
        self._settings = settings
        self._trust: dict[str, Trust] = {}
        self._restarts: dict[str, float] = {}
        none: tuple[int, ...] = ()
        self._salted = ("", none, none)
        self._block_tokens = float(BLOCK_TOKENS)
        self.prefixes = PrefixIndex(most_blocks=settings.affinity_blocks)
        self.events = EventIndex(most_blocks=settings.affinity_blocks)
        self.sessions = Sessions(
            most_sessions=settings.affinity_sessions,
            idle_seconds=settings.session_idle_seconds,
        )
        self.adapters = Adapters()
        self.verdicts: Counter[SessionVerdict] = Counter()

    def keep_only(self, addresses: frozenset[str], models: Iterable[str]) -> None:
        """Forget replicas that are gone."""
        self.prefixes.keep_only(addresses)
        self.events.keep_only(addresses)
        self.adapters.keep_only(addresses, models)
        self._trust = {address: self._trust.get(address) or Trust() for address in addresses}
        self._restarts = {a: count for a, count in self._restarts.items() if a in addresses}

    def forget(self, address: str) -> None:
        """A replica's memory is empty: it restarted, or its cache was reset.

        What its engine tells by itself is not touched: its stream says when that begins anew.
        """
        if address in self._trust:
            self.prefixes.forget(address)
            self.adapters.forget(address)
            self._trust[address] = Trust()

    def observing(
        self,
        snapshot: FleetSnapshot,
        units: Iterable[Unit],
        freshness: FreshnessPolicy,
        *,
        now_seconds: float,
    ) -> Iterator[None]:
        """Take in counters, capacities, adapters and restarts, of some with each step."""
        fresh = {
            address: loaded
            for address, loaded in snapshot.adapters.items()
            if now_seconds - loaded.observed_seconds <= freshness.fresh_seconds
        }
        for number, unit in enumerate(units, start=1):
            if not number % _REPLICAS_PER_STEP:
                yield
            address = unit.address
            restarts = snapshot.restarts.get(address, 0)
            if self._restarts.setdefault(address, restarts) != restarts or not unit.healthy:
                self._restarts[address] = restarts
                self.forget(address)
            self.prefixes.resize(address, int(unit.kv_capacity_tokens / self._block_tokens))
            self._count(snapshot, address, now_seconds=now_seconds)
        self.adapters.observe(fresh, snapshot.fleet.models())

    def trust_ratio(self, address: str, *, now_seconds: float) -> float:
        """By what predictions for a replica are multiplied, from 0 to 1."""
        return self._trust[address].ratio(now_seconds=now_seconds)

    def meet(
        self, facts: RequestFacts, units: Mapping[str, Unit], demand: Demand, *, now_seconds: float
    ) -> Demand:
        """The demand with what it would find on each of `units`, and where its session was."""
        if not self._settings.affinity:
            return demand
        is_adapter, home = self.adapters.names(facts.model), None
        hashes: tuple[int, ...] = ()
        if facts.hints.session is not None:
            home = self.sessions.home(facts.model, facts.hints.session, now_seconds=now_seconds)
        if facts.prefix_block_hashes:
            hashes = self._salt(facts)
        elif home is None and not is_adapter:
            return demand
        is_told = facts.prompt_tokens is not None and any(self.events.telling())
        if home is None and not (is_adapter or is_told or self.prefixes.is_anywhere(hashes)):
            return demand
        load = AdapterLoad(self._settings.adapter_load_seconds, demand.mix.output_tokens)
        near = RequestNearby(
            self,
            facts,
            hashes,
            home,
            units,
            prompt_tokens=demand.prompt_tokens,
            load=load if is_adapter else None,
            now_seconds=now_seconds,
        )
        session_home = None if home is None else home.address
        return msgspec.structs.replace(demand, near=near, session_home=session_home)

    def judge(
        self, demand: Demand, chosen: Unit, home: Unit | None, late: Callable[[Unit], float]
    ) -> SessionVerdict:
        """What becomes of a request's session, counted."""
        verdict = session_verdict(demand, chosen, home=home, late=late)
        self.verdicts[verdict] += 1
        return verdict

    def sent(
        self, address: str, facts: RequestFacts, demand: Demand, *, now_seconds: float
    ) -> None:
        """A request was picked for `address`: its prompt will be there from now on."""
        if not self._settings.affinity:
            return
        session, hashes = facts.hints.session, self._salt(facts)
        if hashes:
            self.prefixes.record(address, hashes)
            self._block_tokens = _smoothed(self._block_tokens, facts, demand.prompt_tokens)
        if hashes or session is not None:
            self._trust[address].predict(
                prompt_tokens=demand.prompt_tokens,
                cached_tokens=demand.at(address).believed_tokens,
                now_seconds=now_seconds,
            )
        self.adapters.use(address, facts.model)
        if session is not None:
            tokens = (demand.prompt_tokens, demand.output_tokens)
            home = Home(address, *tokens, len(hashes), now_seconds)
            self.sessions.settle_at(facts.model, session, home)

    # Inside

    def _salt(self, facts: RequestFacts) -> tuple[int, ...]:
        """The request's hashes, salted; a request that is asked about is mostly sent next."""
        model, hashes, known = self._salted
        if hashes is not facts.prefix_block_hashes or model != facts.model:
            known = salted(facts)
            self._salted = (facts.model, facts.prefix_block_hashes, known)
        return known

    def _count(self, snapshot: FleetSnapshot, address: str, *, now_seconds: float) -> None:
        queried = snapshot.signal(address, SignalKind.PREFIX_QUERY_TOKENS_TOTAL)
        hit = snapshot.signal(address, SignalKind.PREFIX_HIT_TOKENS_TOTAL)
        if queried is None or hit is None:
            return
        # With caching switched off an engine looks nothing up, and computes every prompt.
        prompts = snapshot.signal(address, SignalKind.PROMPT_TOKENS_TOTAL)
        looked_up = max(queried.value, 0.0 if prompts is None else prompts.value)
        self._trust[address].count(
            looked_up_total=looked_up, hit_total=hit.value, now_seconds=now_seconds
        )


def salted(facts: RequestFacts) -> tuple[int, ...]:
    """The prompt's hashes as those of one model: adapters and models share no cache."""
    if not facts.prefix_block_hashes:
        return ()
    salt = hash(facts.model)
    return tuple([block_hash ^ salt for block_hash in facts.prefix_block_hashes])


def _smoothed(block_tokens: float, facts: RequestFacts, prompt_tokens: float) -> float:
    """Mean tokens of a block over the last requests; at least one each."""
    return max(1.0, 0.95 * block_tokens + 0.05 * facts.prefix_block_ratio * prompt_tokens)
