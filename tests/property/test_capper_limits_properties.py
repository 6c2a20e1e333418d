"""What must hold of dealt power limits, whatever the fleet, the caps and the order of events."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from capper.decide.clock_model import ClockCurve
from capper.decide.document import from_document, to_document
from capper.decide.loop import decide
from capper.decide.memory import applied
from capper.decide.observation import (
    DomainReading,
    Observation,
    PowerReading,
    Sample,
    TargetReading,
)
from capper.decide.plan import ReleasePowerLimit, SetPowerLimit
from capper.decide.policy import DomainPolicy, LimitRange, Mode, NamedCap, Policy, Rung
from capper.decide.policy import TargetPolicy as Target
from capper.decide.state import State

RACKS = ("r1", "r2")
CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.2e9, static_watts=50.0)
NOW = 10_000.0
few = settings(max_examples=60, deadline=None)


@st.composite
def targets(draw, number):
    """(policy, reading): what it draws is within its range, as its boards see to that."""
    lowest = draw(st.floats(50.0, 500.0))
    between = LimitRange(lowest, lowest * draw(st.floats(1.0, 3.0)))
    current = draw(st.integers(0, 8))
    ready = draw(st.integers(0, current))
    each = draw(st.floats(40.0, 1.0 * between.highest_watts))
    policy = Target(
        ref=f"t{number}",
        domain=draw(st.sampled_from(RACKS)),
        priority=draw(st.integers(0, 1)),
        min_replicas=draw(st.integers(0, 2)),
        clocks=draw(st.sampled_from([None, CURVE])),
        limit_range=between,
    )
    reading = TargetReading(
        spec_replicas=current,
        status_replicas=current,
        ready_replicas=ready,
        max_replicas=draw(st.none() | st.integers(current, current + 4)),
        watts=ready * each,
        output_tokens_per_second=draw(st.sampled_from([0.0, 100.0])),
        tokens_per_joule=draw(st.floats(0.1, 9.0)),
    )
    return policy, reading


@st.composite
def fleets(draw):
    """(policy, observation): caps of any height, something unlimited in every rack."""
    pairs = [draw(targets(number)) for number in range(draw(st.integers(1, 4)))]
    drawn = {name: draw(st.floats(1.0, 500.0)) for name in RACKS}
    for policy, reading in pairs:
        drawn[policy.domain] += reading.watts
    drawn["fleet"] = sum(drawn.values()) + draw(st.floats(0.0, 500.0))
    domains = tuple(
        DomainPolicy(
            name=name,
            parent=None if name == "fleet" else "fleet",
            caps=(NamedCap(source="cap", watts=draw(st.floats(0.3, 4.0)) * drawn[name]),),
        )
        for name in ("fleet", *RACKS)
    )
    rungs = frozenset(draw(st.sets(st.sampled_from(Rung))) | {Rung.LIMITS})
    return (
        Policy(
            domains=domains,
            targets=tuple(policy for policy, _ in pairs),
            mode=Mode.ENFORCE,
            rungs=rungs,
        ),
        seeing(drawn, {policy.ref: reading for policy, reading in pairs}),
    )


def seeing(drawn, readings):
    return Observation(
        domains={
            name: DomainReading(power=(PowerReading(samples=(Sample(watts, 1.0),)),))
            for name, watts in drawn.items()
        },
        targets=readings,
    )


def with_caps(policy, ratio):
    def cut(domain):
        cap = NamedCap(source="cap", watts=domain.cap.watts * ratio)
        return replace(domain, caps=(cap,))

    return replace(policy, domains=tuple(cut(one) for one in policy.domains))


def act(plan, now):
    state = plan.state
    for action in plan.actions:
        state = applied(state, action, now_seconds=now)
    return state


def held(policy, state):
    """Limit by target; the highest where none is in force."""
    found = {}
    for one in policy.targets:
        memory = state.targets.get(one.ref)
        limit = None if memory is None else memory.limit_watts
        found[one.ref] = one.limit_range.highest_watts if limit is None else limit
    return found


def room_of(policy, observation, domain):
    """What limits may add up to there: its cap less what draws without one."""
    inside = [one for one in policy.targets if domain.name in ("fleet", one.domain)]
    claimed = sum(
        reading.watts
        + (reading.spec_replicas - reading.ready_replicas) * one.limit_range.highest_watts
        for one, reading in ((one, observation.targets[one.ref]) for one in inside)
        if reading.spec_replicas
    )
    drawn = observation.domains[domain.name].power[0].samples[0].value
    return domain.cap.watts - max(0.0, drawn - claimed), inside


@few
@given(fleets())
def test_limits_never_add_up_to_more_than_a_cap_leaves_where_the_lowest_fit(fleet):
    policy, observation = fleet
    state = act(decide(policy, observation, State(), now_seconds=NOW), NOW)
    limits = held(policy, state)
    for domain in policy.domains:
        room, inside = room_of(policy, observation, domain)
        counts = {one.ref: observation.targets[one.ref].spec_replicas for one in inside}
        lowest = sum(counts[one.ref] * one.limit_range.lowest_watts for one in inside)
        total = sum(counts[one.ref] * limits[one.ref] for one in inside)
        assert total <= max(room, lowest) * (1.0 + 1e-9) + 1e-6


@few
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.floats(50.0, 500.0), st.floats(1.5, 3.0)),
        min_size=2,
        max_size=4,
    ),
    st.floats(0.05, 0.95),
    st.permutations((0, 1, 2, 3)),
)
def test_watts_that_change_hands_are_given_only_after_they_were_taken(sizes, place, priorities):
    ranges = [LimitRange(lowest, lowest * ratio) for _, lowest, ratio in sizes]
    counts = [count for count, _, _ in sizes]
    floor, top = (
        sum(count * watts for count, watts in zip(counts, each, strict=True))
        for each in zip(*((one.lowest_watts, one.highest_watts) for one in ranges), strict=True)
    )
    cap_watts = floor + place * (top - floor)
    domain = DomainPolicy(name="fleet", caps=(NamedCap(source="cap", watts=cap_watts),))

    def policy(order):
        return Policy(
            domains=(domain,),
            targets=tuple(
                Target(ref=f"t{n}", limit_range=one, priority=order[n])
                for n, one in enumerate(ranges)
            ),
            mode=Mode.ENFORCE,
            rungs=frozenset({Rung.LIMITS}),
        )

    def total(limits):
        return sum(count * watts for count, watts in zip(counts, limits, strict=True))

    readings = {
        f"t{n}": TargetReading(
            spec_replicas=count, status_replicas=count, ready_replicas=count, watts=count * 40.0
        )
        for n, count in enumerate(counts)
    }
    observation = seeing({"fleet": 40.0 * sum(counts)}, readings)
    first, second = policy((0, 1, 2, 3)), policy(priorities)
    state = act(decide(first, observation, State(), now_seconds=NOW), NOW)
    before = list(held(first, state).values())
    now = NOW + 1.0
    for turn in range(6):
        state = act(decide(second, observation, state, now_seconds=now), now)
        after = list(held(second, state).values())
        assert total(map(max, before, after)) <= cap_watts * (1.0 + 1e-9) + 1e-6, turn
        again = decide(second, observation, state, now_seconds=now)
        if after != before:
            assert again.actions == ()
        before, now = after, now + 1.0
    # In the end nothing is left over but steps and the gap.
    slack = sum(
        count * (1.0 + 0.02 * one.highest_watts) for count, one in zip(counts, ranges, strict=True)
    )
    assert total(after) >= cap_watts - slack - 1e-6


@few
@given(fleets())
def test_the_same_observation_asks_for_nothing_more(fleet):
    policy, observation = fleet
    # Of replicas that are coming or leaving nobody knows what they draw.
    serving = {
        ref: replace(one, ready_replicas=one.spec_replicas)
        for ref, one in observation.targets.items()
    }
    observation = replace(observation, targets=serving)
    plan = decide(policy, observation, State(), now_seconds=NOW)
    again = decide(policy, observation, act(plan, NOW), now_seconds=NOW)
    kinds = SetPowerLimit | ReleasePowerLimit
    assert [one for one in again.actions if isinstance(one, kinds)] == []


@few
@given(fleets(), st.floats(0.01, 1.0))
def test_lower_caps_never_give_a_higher_limit_to_a_fleet_in_one_domain(fleet, ratio):
    policy, observation = fleet
    alone = replace(
        policy,
        domains=policy.domains[:1],
        targets=tuple(replace(one, domain="fleet") for one in policy.targets),
    )
    limits = [
        held(one, act(decide(one, observation, State(), now_seconds=NOW), NOW))
        for one in (alone, with_caps(alone, ratio))
    ]
    for ref, watts in limits[0].items():
        assert limits[1][ref] <= watts + 1e-6


@few
@given(fleets(), st.floats(0.3, 3.0))
def test_blindness_raises_no_limit(fleet, ratio):
    policy, observation = fleet
    state = act(decide(policy, observation, State(), now_seconds=NOW), NOW)
    blind = replace(observation, domains={})
    plan = decide(with_caps(policy, ratio), blind, state, now_seconds=NOW + 5.0)
    before, after = held(policy, state), held(policy, act(plan, NOW + 5.0))
    assert all(after[ref] <= before[ref] + 1e-6 for ref in before)


@few
@given(fleets())
def test_limits_stay_within_the_range_of_their_boards_and_outlive_the_process(fleet):
    policy, observation = fleet
    plan = decide(policy, observation, State(), now_seconds=NOW)
    ranges = {one.ref: one.limit_range for one in policy.targets}
    for action in plan.actions:
        if isinstance(action, SetPowerLimit):
            between = ranges[action.target]
            assert between.lowest_watts <= action.watts <= between.highest_watts
    state = act(plan, NOW)
    assert from_document(json.loads(json.dumps(to_document(state)))) == state
