"""First half of a turn: what is seen of every domain, and what follows for it alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from capper.decide.allocation import Budget
from capper.decide.bands import band_of, interrupted, ratio_of, step_latches
from capper.decide.braking import step_brake
from capper.decide.domains import DomainTree
from capper.decide.observation import Observation
from capper.decide.observe import DomainView, Trust, Work, view_domain
from capper.decide.policy import DomainPolicy, Policy, Rung
from capper.decide.state import Band, DomainState, Latches, State
from capper.decide.workload import Workload

# Times of one measurement, worked out from its age in two turns, differ by less.
_SAME_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One domain, seen.

    Attributes:
        policy: What the user asks.
        view: What is believed.
        memory: To remember.
        ratio: Worst of watts and temperature over their limits; None while blind or unlimited.
        band: Worst of both.
        shed_level: To be in force.
    """

    policy: DomainPolicy
    view: DomainView
    memory: DomainState
    ratio: float | None
    band: Band
    shed_level: int

    @property
    def over(self) -> bool:
        """Whether a limit is exceeded now."""
        return self.ratio is not None and self.ratio > 1.0


def look(
    policy: Policy,
    tree: DomainTree,
    observation: Observation,
    state: State,
    workloads: list[Workload],
    *,
    now_seconds: float,
) -> dict[str, Sight]:
    """Every domain of the policy, seen."""
    works = {name: _work(name, observation, workloads) for name in tree.domains}
    sights = {}
    for name, domain in tree.domains.items():
        memory = state.domains.get(name, DomainState())
        view, memory = view_domain(
            domain,
            observation.domains.get(name),
            memory,
            policy.freshness,
            work=works[name],
            now_seconds=now_seconds,
        )
        sights[name] = _judge(policy, domain, view, memory, now_seconds)
    return sights


def budgets(
    tree: DomainTree,
    sights: Mapping[str, Sight],
    state: State,
    workloads: list[Workload],
    *,
    now_seconds: float,
) -> dict[str, Budget]:
    """The domains that limit watts now. One that is too hot may draw less by the same ratio."""
    found = {}
    for name, sight in sights.items():
        claimed = sum(one.watts * one.shares.get(name, 0.0) for one in workloads)
        watts = claimed if sight.view.watts is None else sight.view.watts
        caps = []
        if sight.policy.cap is not None and sight.view.watts is not None:
            caps.append(sight.policy.cap.watts)
        limit, heat = sight.policy.max_inlet_celsius, sight.view.inlet_celsius
        if limit is not None and heat is not None and heat > limit:
            caps.append(watts * max(0.0, limit) / heat if heat > 0.0 else 0.0)
        if caps:
            reserved = sum(
                held.watts
                for held in state.reservations.values()
                if name in tree.path(held.domain)
                and held.until_seconds > now_seconds
                and held.watts > 0.0
            )
            found[name] = Budget(cap_watts=min(caps), watts=watts, reserved_watts=reserved)
    return found


def _judge(
    policy: Policy, domain: DomainPolicy, view: DomainView, memory: DomainState, now: float
) -> Sight:
    power = None
    if domain.cap is not None and view.watts is not None:
        power = ratio_of(view.watts, domain.cap.watts)
    heat = None
    if domain.max_inlet_celsius is not None and view.inlet_celsius is not None:
        heat = ratio_of(max(0.0, view.inlet_celsius), domain.max_inlet_celsius)
    measured = now - (view.age_seconds or 0.0)
    latches, counted = _latched(policy, memory.power, power, memory.counted_seconds, measured, now)
    heats, heat_counted = _latched(policy, memory.heat, heat, memory.heat_counted_seconds, now, now)
    ratio = max((one for one in (power, heat) if one is not None), default=None)
    if view.trust is not Trust.USABLE:
        ratio = None if ratio is None or ratio <= 1.0 else ratio
    memory = replace(
        memory,
        power=latches,
        counted_seconds=counted,
        heat=heats,
        heat_counted_seconds=heat_counted,
        over_since_seconds=_over_since(memory, ratio, now),
    )
    level, memory = step_brake(power, memory, policy.thresholds, policy.brakes, now_seconds=now)
    if view.power_trust is Trust.LOST:
        level = min(level, 1)  # All work refused on no knowledge would be an outage of our making.
    return Sight(
        policy=domain,
        view=view,
        memory=memory,
        ratio=ratio,
        band=max(band_of(latches), band_of(heats)),
        shed_level=level if Rung.BRAKE in policy.rungs else 0,
    )


def _latched(
    policy: Policy,
    latches: Latches,
    ratio: float | None,
    counted_seconds: float | None,
    measured_seconds: float,
    now_seconds: float,
) -> tuple[Latches, float | None]:
    if ratio is None:
        return interrupted(latches), counted_seconds
    new = counted_seconds is None or measured_seconds > counted_seconds + _SAME_SAMPLE_SECONDS
    after = step_latches(
        latches,
        ratio,
        policy.thresholds,
        policy.pacing,
        new_sample=new,
        now_seconds=now_seconds,
    )
    return after, measured_seconds if new else counted_seconds


def _over_since(memory: DomainState, ratio: float | None, now: float) -> float | None:
    if ratio is None:
        return memory.over_since_seconds
    if ratio <= 1.0:
        return None
    return now if memory.over_since_seconds is None else memory.over_since_seconds


def _work(name: str, observation: Observation, workloads: list[Workload]) -> Work:
    """What runs in a domain. A target of which nothing is known may be running."""
    running, tokens, replicas = False, 0.0, 0.0
    tokens_known = True
    for one in workloads:
        share = one.shares.get(name, 0.0)
        if not share:
            continue
        reading = observation.targets.get(one.ref)
        running = running or one.current is None or one.ready > 0
        replicas += share * one.ready
        rate = None if reading is None else reading.output_tokens_per_second
        tokens_known = tokens_known and rate is not None and math.isfinite(rate)
        tokens += share * (rate or 0.0)
    return Work(running=running, amount=tokens if tokens_known else replicas)
