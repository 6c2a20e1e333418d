"""A replica as dispatch sees it: its profile, its corrected load, and what a request would meet.

"Corrected": scraped load as of the time it was scraped, plus own starts and minus own ends since.
What remains after taking the own requests out is foreign load, which only the next scrape changes.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fleet.physics import Mix, prefill_dynamic_joules, step_dynamic_joules
from fleet.physics import tpot_seconds as steady_tpot_seconds
from fleet.profile import Profile
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import Signals
from fleet.topology import Backend, Replica
from router.decide.affinity_nearness import NOTHING, NOWHERE, Nearness
from router.decide.decayed_sum import DecayedSum
from router.decide.ledger import Account

# A window shorter than a prompt or two would call every single prompt a burst.
_MIN_BURST_SECONDS = 0.1


class Demand(NamedTuple):
    """A request in the numbers that policies compare.

    Attributes:
        model: Name asked for.
        prompt_tokens: Estimated length of the prompt.
        output_tokens: Expected length of the answer(s).
        mix: The model's present mean request.
        ttft_objective_seconds: The request's own objective, or None: the backend's.
        tpot_objective_seconds: Likewise.
        sheddable: Whether it may be refused when no replica keeps the objective.
        subset: Addresses or hosts the pick is limited to, or None for all.
        avoided: Addresses that the data plane could not reach lately.
        refused: Addresses whose power domain takes no such request now.
        stalled: Addresses that take requests and end none.
        prefix_block_hashes: See `RequestFacts`.
        near: What it finds where, by address; replicas that are not in it offer nothing special.
        session_home: Where its session was served last, or None.
    """

    model: str
    prompt_tokens: float
    output_tokens: float
    mix: Mix
    ttft_objective_seconds: float | None
    tpot_objective_seconds: float | None
    sheddable: bool
    subset: frozenset[str] | None
    avoided: frozenset[str] = frozenset()
    prefix_block_hashes: tuple[int, ...] = ()
    near: Mapping[str, Nearness] = NOTHING
    session_home: str | None = None
    refused: frozenset[str] = frozenset()
    stalled: frozenset[str] = frozenset()

    def at(self, address: str) -> Nearness:
        """What it finds on a replica."""
        return self.near.get(address, NOWHERE) if self.near else NOWHERE

    @property
    def resident_tokens(self) -> float:
        """KV tokens it will hold, on average over its life."""
        return self.prompt_tokens + 0.5 * self.output_tokens

    def allows(self, address: str) -> bool:
        """Whether the subset and its domain admit a replica and it is not to be avoided."""
        if self.subset is None and not (self.avoided or self.refused or self.stalled):
            return True  # nearly always, and asked of every replica
        return (
            admits(self.subset, address)
            and address not in self.avoided
            and address not in self.refused
            and address not in self.stalled
        )


def admits(subset: frozenset[str] | None, address: str) -> bool:
    """Whether a subset admits an address; an entry without a port means all its ports."""
    if subset is None or address in subset:
        return True
    host = address.rpartition(":")[0]
    return host in subset or host.strip("[]") in subset


class Prediction(NamedTuple):
    """What the request would meet on a replica.

    Attributes:
        tpot_seconds: At B + 1, with the prompts of a steady state or those of just now.
        ttft_seconds: Queue, pending prompts and own prefill.
        kv_ratio: KV use once admitted.
        lateness_ratio: The worst of prediction over limit; at most 1 when the guard passes.
        limit: Which of the limits that is: "tpot", "ttft", "kv" or "slots".
    """

    tpot_seconds: float
    ttft_seconds: float
    kv_ratio: float
    lateness_ratio: float
    limit: str

    @property
    def passes(self) -> bool:
        """Whether every objective holds with its margin."""
        return self.lateness_ratio <= 1.0


class Unit:
    """One replica's operating state; rebuilt readings, shared account.

    Attributes:
        replica: Its declaration.
        backend: Its backend's.
        account: The ledger's account of it.
        profile: The prior, corrected by what was learned.
        price_ratio: The capper's multiplier on its joules.
        healthy: False only when a fresh reading says that it refuses connections.
        observed: Whether any load or power reading of it is fresh.
        foreign_running: Requests on it that were not ours when it was scraped.
        own_running_then: Requests on it that were; None without a fresh scrape.
        fleet_ratio: All requests of its models over our own (router.decide.foreign_load).
        kv_correction_tokens: Scraped KV use minus what the ledger believed at that time.
        foreign_wait_seconds: Prefill time of requests that wait in its engine beyond our own.
        waiting_requests: As scraped, or None.
        kv_usage_ratio: As scraped, or None.
        tokens_per_joule: As scraped (tokens/s over watts), or None.
        prompt_inflow: Prefill seconds of own prompts sent here lately, fading.
    """

    __slots__ = (
        "_own_resident_then",
        "account",
        "backend",
        "fleet_ratio",
        "foreign_running",
        "foreign_wait_seconds",
        "healthy",
        "kv_capacity_tokens",
        "kv_correction_tokens",
        "kv_usage_ratio",
        "observed",
        "own_running_then",
        "price_ratio",
        "profile",
        "prompt_inflow",
        "replica",
        "tokens_per_joule",
        "waiting_requests",
    )

    def __init__(
        self, *, replica: Replica, backend: Backend, account: Account, profile: Profile
    ) -> None:
        """A unit with nothing observed yet: the ledger alone."""
        self.replica = replica
        self.backend = backend
        self.account = account
        self.profile = profile
        self.price_ratio = 1.0
        self.fleet_ratio = 1.0
        self.kv_capacity_tokens = profile.kv_capacity_tokens
        self.prompt_inflow = DecayedSum(1.0)
        self.unobserve()

    def unobserve(self) -> None:
        """Fall back to the ledger alone: unknown load is neither zero nor saturation."""
        self.healthy = True
        self.observed = False
        self.foreign_running = 0.0
        self.own_running_then: int | None = None
        self._own_resident_then = 0.0
        self.kv_correction_tokens = 0.0
        self.foreign_wait_seconds = 0.0
        self.waiting_requests: float | None = None
        self.kv_usage_ratio: float | None = None
        self.tokens_per_joule: float | None = None

    def observe(
        self,
        signals: Signals,
        freshness: FreshnessPolicy,
        mix: Mix,
        *,
        burst_life_ratio: float,
        now_seconds: float,
    ) -> None:
        """Take in the newest readings; stale and missing ones leave the ledger alone.

        Args:
            signals: Of this replica.
            freshness: When they stop counting.
            mix: Of what it serves.
            burst_life_ratio: Part of a mean answer's life over which prompts are added up.
            now_seconds: Monotonic time.
        """
        self.unobserve()
        life_seconds = mix.output_tokens * self.backend.objective.tpot_seconds
        self.prompt_inflow.change_window(
            max(_MIN_BURST_SECONDS, burst_life_ratio * life_seconds), now_seconds=now_seconds
        )

        def fresh(kind: SignalKind) -> float | None:
            return freshness.fresh_value(signals.get(kind), now_seconds=now_seconds)

        healthy = fresh(SignalKind.HEALTHY_RATIO)
        self.healthy = healthy is None or healthy >= 0.5  # noqa: PLR2004 - a ratio of yes and no
        self.kv_capacity_tokens = _capacity(signals) or self.profile.kv_capacity_tokens
        self.waiting_requests = fresh(SignalKind.WAITING_REQUESTS)
        self.kv_usage_ratio = fresh(SignalKind.KV_USAGE_RATIO)
        watts = fresh(SignalKind.POWER_WATTS)
        tokens_per_second = fresh(SignalKind.GENERATION_TOKENS_PER_SECOND)
        if watts and tokens_per_second is not None:
            self.tokens_per_joule = tokens_per_second / watts
        self._correct_load(signals, mix, running=fresh(SignalKind.RUNNING_REQUESTS))
        self.observed = self.observed or watts is not None or healthy is not None

    def _correct_load(self, signals: Signals, mix: Mix, *, running: float | None) -> None:
        if running is None:
            return
        self.observed = True
        waiting = self.waiting_requests or 0.0
        own_running, own_resident = self.account.at(
            signals[SignalKind.RUNNING_REQUESTS].observed_seconds
        )
        self.own_running_then, self._own_resident_then = own_running, own_resident
        self.foreign_running = max(0.0, running + waiting - own_running)
        foreign_waiting = min(waiting, self.foreign_running)
        seconds_each = self._mean_prompt_seconds(mix, running)
        self.foreign_wait_seconds = foreign_waiting * seconds_each
        own_waiting = waiting - foreign_waiting
        if own_waiting > 0.0:
            observed_seconds = signals[SignalKind.RUNNING_REQUESTS].observed_seconds
            self.account.queue_until(observed_seconds + own_waiting * seconds_each)
        if self.kv_usage_ratio is not None:
            self.kv_correction_tokens = self.kv_usage_ratio * self.kv_capacity_tokens - own_resident

    def _mean_prompt_seconds(self, mix: Mix, running: float) -> float:
        """Time to compute a mean prompt beside `running` others."""
        step, new_tokens = self.profile.step, mix.computed_prompt_tokens
        decode_seconds = step.decode_seconds(running, running * mix.resident_tokens)
        return step.prompt_seconds(new_tokens) + new_tokens / step.chunk_tokens * decode_seconds

    @property
    def address(self) -> str:
        """The replica, as "ip:port"."""
        return self.replica.address

    @property
    def running(self) -> float:
        """B: foreign and own requests, waiting ones included.

        Others are taken to have done since the scrape what we have done, in proportion.
        """
        own = self.account.running
        if self.own_running_then is None or self.fleet_ratio == 1.0:
            return self.foreign_running + own
        unseen = (self.fleet_ratio - 1.0) * (own - self.own_running_then)
        return max(0.0, self.foreign_running + unseen) + own

    @property
    def resident_tokens(self) -> float:
        """KV: own requests' mean residence, corrected by the last scrape.

        At least half of the ledger's own figure: a scrape taken just before a wave of long
        prompts must not make a filling replica look empty.
        """
        own = self.account.resident_tokens
        unseen = 0.0
        if self.own_running_then is not None:
            unseen = (self.fleet_ratio - 1.0) * (own - self._own_resident_then)
        return max(0.5 * own, own + self.kv_correction_tokens + unseen)

    def predict(self, demand: Demand, *, kv_limit_ratio: float, now_seconds: float) -> Prediction:
        """What `demand` would meet here, as one request more."""
        objective = self.backend.objective
        batch = self.running + 1.0
        kv_tokens = self.resident_tokens + demand.resident_tokens
        tpot_seconds = max(
            steady_tpot_seconds(self.profile, batch=batch, kv_tokens=kv_tokens, mix=demand.mix),
            self._burst_tpot_seconds(demand, batch, kv_tokens, now_seconds),
        )
        ttft_seconds = (
            max(0.0, self.account.prefill_free_seconds - now_seconds)
            + self.foreign_wait_seconds
            + self.prefill_seconds(demand)
        )
        kv_ratio = kv_tokens / self.kv_capacity_tokens
        margin = objective.margin_ratio
        # A request may ask for more than its backend promises, not for less: those that run
        # already were promised the backend's own, and it would be they who wait.
        tpot_objective = min(
            demand.tpot_objective_seconds or objective.tpot_seconds, objective.tpot_seconds
        )
        ttft_objective = demand.ttft_objective_seconds or objective.ttft_seconds
        lateness_ratio, limit = max(
            (tpot_seconds / (margin * tpot_objective), "tpot"),
            (ttft_seconds / (margin * ttft_objective), "ttft"),
            (kv_ratio / kv_limit_ratio, "kv"),
            (batch / self.backend.max_running_requests, "slots"),
        )
        return Prediction(tpot_seconds, ttft_seconds, kv_ratio, lateness_ratio, limit)

    def is_full(self, demand: Demand, *, kv_limit_ratio: float) -> bool:
        """Whether `demand` would only queue in the engine: no batch slot, or no KV room.

        An idle replica is never full, so that what is larger than the limit is served some day.
        """
        if self.running < 1.0:
            return False
        kv_tokens = self.resident_tokens + demand.resident_tokens
        return (
            self.running + 1.0 > self.backend.max_running_requests
            or kv_tokens > kv_limit_ratio * self.kv_capacity_tokens
        )

    def _burst_tpot_seconds(
        self, demand: Demand, batch: float, kv_tokens: float, now_seconds: float
    ) -> float:
        """Time per token of a short answer, among the prompts that came here just now.

        While prompts take a share s of the time, a decode step takes T / (1 - s); and never more
        than T and one full chunk, because that is all the prefill that an engine puts in a step.
        """
        step = self.profile.step
        decode_seconds = step.decode_seconds(batch, kv_tokens)
        near = demand.at(self.address)
        new_tokens = demand.prompt_tokens - near.cached_tokens
        own_seconds = step.prompt_seconds(new_tokens, cached_tokens=near.cached_tokens)
        inflow = self.prompt_inflow
        share = inflow.per_second(now_seconds=now_seconds) + own_seconds / inflow.window_seconds
        longest = max(new_tokens, demand.mix.computed_prompt_tokens)
        chunk_seconds = step.prompt_seconds(
            step.chunk_tokens, cached_tokens=max(0.0, longest - step.chunk_tokens)
        )
        ceiling_seconds = decode_seconds + chunk_seconds
        if share >= 1.0:
            return ceiling_seconds
        return min(decode_seconds / (1.0 - share), ceiling_seconds)

    def send_prompt(self, demand: Demand, *, now_seconds: float) -> None:
        """Count the prompt of a request that was just picked for here, and others' like it."""
        cached_tokens = demand.at(self.address).cached_tokens
        prompt_seconds = self.profile.step.prompt_seconds(
            demand.prompt_tokens - cached_tokens, cached_tokens=cached_tokens
        )
        self.prompt_inflow.add(self.fleet_ratio * prompt_seconds, now_seconds=now_seconds)

    def prefill_seconds(self, demand: Demand) -> float:
        """Time to compute what is not cached of the prompt, decodes in the same steps included.

        An adapter that must be loaded comes first.
        """
        step, near = self.profile.step, demand.at(self.address)
        new_tokens = demand.prompt_tokens - near.cached_tokens
        decode_seconds = step.decode_seconds(self.running, self.resident_tokens)
        chunks = -(-new_tokens // step.chunk_tokens)
        prompt_seconds = step.prompt_seconds(new_tokens, cached_tokens=near.cached_tokens)
        return near.load_seconds + prompt_seconds + max(chunks, 1.0) * decode_seconds

    def marginal_joules(self, demand: Demand) -> float:
        """Priced o * (W(B+1) - W(B)) + prefill: what this request adds at this moment."""
        batch, kv_tokens = self.running, self.resident_tokens
        added = step_dynamic_joules(
            self.profile, batch=batch + 1.0, kv_tokens=kv_tokens + demand.resident_tokens
        ) - step_dynamic_joules(self.profile, batch=batch, kv_tokens=kv_tokens)
        return demand.output_tokens * added * self.price_ratio + self.prompt_joules(demand)

    def decode_share_joules(self, demand: Demand) -> float:
        """Priced o * W(B+1) / (B+1): its equal share of the steps that it will be in."""
        batch = self.running + 1.0
        joules = step_dynamic_joules(
            self.profile, batch=batch, kv_tokens=self.resident_tokens + demand.resident_tokens
        )
        return demand.output_tokens * joules / batch * self.price_ratio

    def prompt_joules(self, demand: Demand) -> float:
        """Priced joules to compute what is not cached of the prompt, and to load its adapter.

        While an adapter is loaded the engine does not step, at the power of one that decodes.
        """
        near, power = demand.at(self.address), self.profile.power
        prefill = prefill_dynamic_joules(
            self.profile,
            new_tokens=demand.prompt_tokens - near.cached_tokens,
            cached_tokens=near.cached_tokens,
        )
        loading = (power.floor_watts - power.idle_watts) * near.load_seconds
        return (prefill + loading) * self.price_ratio


def _capacity(signals: Signals) -> float | None:
    """KV capacity, whatever its age: an engine's cache does not change size while it runs."""
    signal = signals.get(SignalKind.KV_CAPACITY_TOKENS)
    return signal.value if signal is not None and signal.value > 0.0 else None
