"""A target as the decision sees it: counts without races, watts without zeros, its rank."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from capper.decide.domains import DomainTree
from capper.decide.observation import TargetReading
from capper.decide.observe import plausible_watts
from capper.decide.policy import TargetPolicy
from capper.decide.state import TargetState
from capper.decide.tuning import Freshness

_IDLE_TOKENS_PER_SECOND = 1.0
_LEAST_NEXT_RATIO = 0.5  # boards are about half of a server's watts (POLCA), and they stay


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One target.

    Attributes:
        policy: What the user asks.
        memory: What is remembered.
        current: Race-free replicas; None when unknown or too old: then nothing is done.
        ready: Replicas that serve, at most `current`.
        coming: Replicas that do not draw their watts yet.
        floor: Never fewer.
        ready_floor: The same, where the bound is below it, too: no ready replica is evicted then.
        ceiling: Never more; None: no bound is known.
        original: The workload's own bound, without ours; None: none.
        field: What the object's field says; None: nothing.
        in_force: The bound now, a pause of ours included; None: none.
        paused: Whether its scale-out is paused by us and still is.
        can_pause: Whether growth may be stopped by pausing.
        watts: Of all replicas; estimated where not measured, 0 where there is nothing to go by.
        replica_watts: Of one present replica; None when unknown.
        next_watts: Of one more; None when unknown.
        tokens_per_joule: Its worth; 0 for idle, None for unknown.
        packed_tokens_per_joule: What it would be with its replicas filled; None for unknown.
        unneeded: Replicas that the router has no use for.
        wants_more: Whether the router needs more than there are.
        shares: Domain -> part of its watts there, all that feed it included; the root is 1.
        clock_hertz: Lock in force.
    """

    policy: TargetPolicy
    memory: TargetState
    current: int | None
    ready: int
    coming: int
    floor: int
    ready_floor: int
    ceiling: int | None
    original: int | None
    field: int | None
    in_force: int | None
    paused: bool
    can_pause: bool
    watts: float
    replica_watts: float | None
    next_watts: float | None
    tokens_per_joule: float | None
    packed_tokens_per_joule: float | None
    unneeded: int
    wants_more: bool
    shares: Mapping[str, float]
    clock_hertz: float | None

    @property
    def ref(self) -> str:
        """Its name."""
        return self.policy.ref

    @property
    def starves(self) -> bool:
        """Whether somebody waits for it and it has no replica."""
        return self.current == 0 and self.wants_more


def view_target(
    policy: TargetPolicy,
    reading: TargetReading | None,
    memory: TargetState,
    tree: DomainTree,
    freshness: Freshness,
) -> Workload:
    """Resolve one target; a missing reading gives one of which nothing is known."""
    reading = reading or TargetReading(age_seconds=math.inf)
    current = reading.current_replicas
    if not reading.age_seconds <= freshness.stale_after_seconds:
        current = None
    counted = current or 0
    ready = counted if reading.ready_replicas is None else reading.ready_replicas
    ready = min(max(ready, 0), counted)
    original = memory.original_max if memory.touched else _count(reading.max_replicas)
    ceiling = _least((original, policy.max_replicas))
    least = _floor(policy, reading)
    watts, replica_watts, next_watts = _watts(policy, reading, ready, counted)
    paused = memory.paused and reading.scale_out_paused is True
    field = _count(reading.max_replicas)
    if field is None and memory.touched:
        field = memory.written_max
    forecast = reading.forecast
    return Workload(
        policy=policy,
        memory=memory,
        current=current,
        ready=ready,
        coming=max(counted - ready, _count(reading.pending_replicas) or 0),
        floor=min(least, least if ceiling is None else ceiling),
        ready_floor=least,
        ceiling=ceiling,
        original=original,
        field=field,
        in_force=_least((field, current if paused else None)),
        paused=paused,
        can_pause=policy.prefers_pause and reading.scale_out_paused is not None,
        watts=watts,
        replica_watts=replica_watts,
        next_watts=next_watts,
        tokens_per_joule=_worth(reading),
        packed_tokens_per_joule=_packed_worth(reading),
        unneeded=0 if forecast is None else min(_count(forecast.unneeded_replicas) or 0, counted),
        wants_more=forecast is not None and (forecast.demand_replicas or 0) > counted,
        shares=_shares(policy, reading, tree),
        clock_hertz=memory.clock_hertz,
    )


def ranked(workloads: Iterable[Workload]) -> list[Workload]:
    """Those that are to keep their watts first: by priority, then tokens per joule, then name.

    Unknown worth counts as the middle of the known ones: neither favoured nor punished.
    """
    listed = list(workloads)
    known = sorted(one.tokens_per_joule for one in listed if one.tokens_per_joule is not None)
    middle = known[len(known) // 2] if known else 0.0

    def rank(one: Workload) -> tuple[float, float, str]:
        worth = middle if one.tokens_per_joule is None else one.tokens_per_joule
        return (-one.policy.priority, -worth, one.ref)

    return sorted(listed, key=rank)


def _watts(
    policy: TargetPolicy, reading: TargetReading, ready: int, current: int
) -> tuple[float, float | None, float | None]:
    """Watts of all, of one present and of one more replica. 0 W of a running one is no reading."""
    running = max(ready, 1) if current else 0
    measured = reading.watts if plausible_watts(reading.watts) and reading.watts else None
    present = measured / running if measured is not None and running else None
    declared = _positive(policy.replica_watts)
    typical = _positive(reading.replica_watts_p95) or present
    known = declared or typical
    if measured is None:
        measured = (known or 0.0) * ready
    return measured, present or known, declared or _next_watts(typical, reading.next_extra_watts)


def _next_watts(typical: float | None, extra: float) -> float | None:
    """Of a replica with other requests, of which only the host's part can change."""
    if typical is None or not math.isfinite(extra):
        return typical
    return max(typical + extra, _LEAST_NEXT_RATIO * typical)


def _worth(reading: TargetReading) -> float | None:
    tokens = reading.output_tokens_per_second
    if tokens is not None and 0.0 <= tokens < _IDLE_TOKENS_PER_SECOND:
        return 0.0
    worth = reading.tokens_per_joule
    return worth if worth is not None and math.isfinite(worth) and worth >= 0.0 else None


def _packed_worth(reading: TargetReading) -> float | None:
    packed = None if reading.forecast is None else reading.forecast.packed_tokens_per_joule
    return packed if packed is not None and math.isfinite(packed) and packed >= 0.0 else None


def _floor(policy: TargetPolicy, reading: TargetReading) -> int:
    told = (reading.min_replicas, reading.least_bound, reading.disruption_floor)
    return max(0, policy.min_replicas, *(one or 0 for one in told))


def _shares(policy: TargetPolicy, reading: TargetReading, tree: DomainTree) -> dict[str, float]:
    given = {
        name: share
        for name, share in reading.domain_shares.items()
        if math.isfinite(share) and share > 0.0
    }
    total = sum(given.values())
    parts = given if 0.0 < total < math.inf else {policy.domain: 1.0}
    total = sum(parts.values())
    shares: dict[str, float] = {}
    for name, part in parts.items():
        for domain in tree.path(name):
            shares[domain] = shares.get(domain, 0.0) + part / total
    shares[tree.root] = 1.0
    return shares


def _positive(value: float | None) -> float | None:
    return value if plausible_watts(value) and value else None


def _count(value: int | None) -> int | None:
    return value if value is not None and value >= 0 else None


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
