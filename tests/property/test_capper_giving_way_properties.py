"""A model without a replica that somebody waits for gets room, from what nobody needs."""

from dataclasses import replace

from capper_builders import bounds, policy_of, run, seen, target
from hypothesis import given, settings
from hypothesis import strategies as st

from capper.decide.memory import applied
from capper.decide.observation import DomainReading, Observation, RouterForecast, Sample
from capper.decide.plan import RestoreMaxReplicas
from capper.decide.policy import DomainPolicy, NamedCap, TargetPolicy
from capper.decide.state import Band, State, TargetState
from capper.decide.tuning import Pacing

NOW = 10_000.0
CAP = 10_000.0
# The model at zero has three replicas, all of them put to sleep long ago.
HELD = State(
    targets={"z": TargetState(touched=True, original_max=3, written_max=0, written_seconds=0.0)}
)
few = settings(max_examples=60)


def waiting(**rest):
    """A model at zero for which requests wait."""
    forecast = RouterForecast(demand_replicas=1, unneeded_replicas=0)
    return target(0, top=0, min_replicas=0, ready_replicas=0, forecast=forecast, **rest)


def busy(current, *, unneeded, each=500.0, **rest):
    forecast = RouterForecast(demand_replicas=current - unneeded, unneeded_replicas=unneeded)
    return target(current, each=each, forecast=forecast, **rest)


def zero(ref="z", watts=500.0, **rest):
    return TargetPolicy(ref=ref, min_replicas=0, replica_watts=watts, **rest)


@st.composite
def fleets(draw):
    """(policy, observation): one model at zero and others with more or less than they need."""
    policies, readings = [zero(watts=draw(st.floats(100.0, 1500.0)))], {"z": waiting()}
    drawn = draw(st.floats(0.0, 2000.0))
    for number in range(draw(st.integers(1, 4))):
        current = draw(st.integers(0, 8))
        each = draw(st.floats(100.0, 1200.0))
        ref = f"t{number}"
        policies.append(
            TargetPolicy(
                ref=ref,
                min_replicas=draw(st.integers(0, 2)),
                priority=draw(st.integers(0, 2)),
            )
        )
        readings[ref] = busy(
            current,
            unneeded=draw(st.integers(0, current)),
            each=each,
            top=draw(st.integers(current, 12)),
            min_replicas=0,
        )
        drawn += current * each
    cap = drawn * draw(st.floats(0.9, 1.4)) + 1.0
    return policy_of(*policies, cap=cap), seen(drawn, **readings)


def without_demand(observation):
    readings = {**observation.targets, "z": replace(observation.targets["z"], forecast=None)}
    return replace(observation, targets=readings)


@few
@given(fleets())
def test_only_what_is_not_needed_goes_and_floors_hold(fleet):
    policy, observation = fleet
    watts = observation.domains["fleet"].power[0].samples[0].value
    plan = run(policy, observation, HELD, now=NOW)
    for one in plan.targets:
        reading = observation.targets[one.ref]
        if one.bound is None or watts > policy.domains[0].cap.watts:
            continue
        needed = one.current_replicas - reading.forecast.unneeded_replicas
        assert one.bound >= min(one.current_replicas, max(needed, one.floor))
        assert one.bound >= one.current_replicas - 1


@few
@given(fleets())
def test_where_nobody_waits_nobody_gives_way(fleet):
    policy, observation = fleet
    plan = run(policy, without_demand(observation), HELD, now=NOW)
    assert not [one for one in plan.targets if "make room" in one.why.sentence]


@few
@given(fleets())
def test_nothing_goes_in_vain(fleet):
    """Whoever gives way does so only where all that may go makes room with all margins."""
    policy, observation = fleet
    plan = run(policy, observation, HELD, now=NOW)
    giving = [one for one in plan.targets if "make room" in one.why.sentence]
    if not giving:
        return
    margins = policy.pacing.spike_margin_ratio + policy.pacing.regrow_gap_ratio
    watts = observation.domains["fleet"].power[0].samples[0].value
    freed = sum(
        (one.current_replicas - one.goal) * observation.targets[one.ref].replica_watts_p95
        for one in giving
    )
    limit = policy.domains[0].cap.watts * (1.0 - margins)
    assert watts - freed + policy.targets[0].replica_watts <= limit + 1e-6


@few
@given(fleets())
def test_the_same_observation_asks_for_nothing_more(fleet):
    policy, observation = fleet
    plan = run(policy, observation, HELD, now=NOW)
    state, targets = plan.state, dict(observation.targets)
    for action in plan.actions:
        state = applied(state, action, now_seconds=NOW)
    for ref, replicas in bounds(plan).items():
        targets[ref] = replace(targets[ref], max_replicas=replicas)
    assert run(policy, replace(observation, targets=targets), state, now=NOW).actions == ()


class Fleet:
    """Replicas that follow their bounds at once; the model at zero wakes with its bound."""

    def __init__(self, counts, needed, *, each, other):
        self.counts, self.needed = dict(counts), needed
        self.each, self.other = each, other
        self.bounds = {**counts, "z": 0}
        self.state = HELD

    def watts(self):
        return self.other + self.each * sum(self.counts.values())

    def turn(self, policy, now):
        readings = {
            ref: busy(count, unneeded=max(0, count - self.needed), each=self.each, min_replicas=0)
            for ref, count in self.counts.items()
        }
        asleep = self.counts["z"] == 0
        readings["z"] = waiting() if asleep else target(1, each=self.each, min_replicas=0)
        readings = {
            ref: replace(one, max_replicas=self.bounds[ref]) for ref, one in readings.items()
        }
        plan = run(policy, seen(self.watts(), **readings), self.state, now=now)
        self.state = plan.state
        for action in plan.actions:
            self.state = applied(self.state, action, now_seconds=now)
        restored = {
            one.target: one.replicas for one in plan.actions if isinstance(one, RestoreMaxReplicas)
        }
        for ref, replicas in {**bounds(plan), **restored}.items():
            self.bounds[ref] = replicas
            self.counts[ref] = min(self.counts[ref], replicas) if ref != "z" else min(1, replicas)
        return plan


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 3),
    st.floats(0.90, 0.99),
)
def test_within_minutes_the_model_wakes_or_nothing_was_taken(counts, needed, level):
    """A full cap, also in Restrict: after some turns the model at zero serves, under the cap."""
    named = {f"t{number}": count for number, count in enumerate(counts)}
    fleet = Fleet({**named, "z": 0}, needed, each=500.0, other=100.0)
    cap = fleet.watts() / level
    policy = policy_of(zero(), *(TargetPolicy(ref=ref) for ref in named), cap=cap)
    margins = policy.pacing.spike_margin_ratio + policy.pacing.regrow_gap_ratio
    floor = 100.0 + 500.0 * sum(min(count, max(needed, 1)) for count in counts)
    possible = floor + 500.0 <= cap * (1.0 - margins)
    for turn in range(120):
        fleet.turn(policy, NOW + 15.0 * turn)
        assert fleet.watts() <= cap
        assert all(fleet.counts[ref] >= min(count, needed) for ref, count in named.items())
    assert fleet.counts["z"] == int(possible)
    if not possible:
        assert {ref: fleet.counts[ref] for ref in named} == named, "nothing goes in vain"


def test_one_wakes_in_restrict_but_not_in_shed_nor_in_a_rack_that_is_too_warm():
    policy = policy_of(
        zero(), TargetPolicy(ref="a"), pacing=Pacing(spike_margin_ratio=0.05, regrow_gap_ratio=0.0)
    )
    full = run(policy, seen(9600.0, z=waiting(), a=busy(10, unneeded=0, each=960.0)), HELD, now=NOW)
    assert full.domains[0].band is Band.RESTRICT
    assert full.targets[0].bound == 0
    calm = seen(8600.0, z=waiting(), a=busy(10, unneeded=0, each=860.0))
    held = run(policy, calm, full.state, now=NOW + 15.0)
    assert held.domains[0].band is Band.RESTRICT, "the dwell holds it"
    assert held.targets[0].bound == 1
    assert held.targets[1].bound == 10, "nobody else grows"

    rack = DomainPolicy(
        name="r1",
        parent="fleet",
        caps=(NamedCap(source="maxPower", watts=10_000.0),),
        max_inlet_celsius=30.0,
    )
    warm = policy_of(zero(domain="r1"), TargetPolicy(ref="a", domain="r1"), domains=(rack,))
    inlet = DomainReading(
        power=seen(3000.0).domains["fleet"].power, inlet_celsius=(Sample(29.0, 1.0),)
    )
    plan = run(
        warm,
        Observation(
            domains={"fleet": seen(3000.0).domains["fleet"], "r1": inlet},
            targets={"z": waiting(), "a": busy(4, unneeded=1)},
        ),
        HELD,
        now=NOW,
    )
    assert plan.domains[1].band is Band.RESTRICT
    assert plan.targets[0].bound == 0
