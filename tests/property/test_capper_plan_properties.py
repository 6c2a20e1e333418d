"""What must hold of every plan, whatever is seen."""

import json
import math
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
from capper.decide.plan import (
    PauseScaleOut,
    ReleaseClock,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
)
from capper.decide.policy import DomainPolicy, Mode, NamedCap, Policy, Rung, TargetPolicy
from capper.decide.shares import Claim, shares
from capper.decide.state import State

RACKS = ("r1", "r2")
CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.2e9, static_watts=50.0)
NOW = 10_000.0
few = settings(max_examples=50)


@st.composite
def fleets(draw):
    """(policy, observation): targets whose watts are within what their domains draw."""
    count = draw(st.integers(1, 4))
    policies, readings, drawn = [], {}, dict.fromkeys(("fleet", *RACKS), 0.0)
    for number in range(count):
        ref = f"t{number}"
        each = draw(st.floats(100.0, 2000.0))
        current = draw(st.integers(0, 12))
        ready = draw(st.integers(0, current))
        domain = draw(st.sampled_from(RACKS))
        policies.append(
            TargetPolicy(
                ref=ref,
                domain=domain,
                min_replicas=draw(st.integers(0, 3)),
                priority=draw(st.integers(0, 2)),
                prefers_pause=draw(st.booleans()),
                clocks=draw(st.sampled_from([None, CURVE])),
            )
        )
        readings[ref] = TargetReading(
            spec_replicas=current,
            status_replicas=current,
            ready_replicas=ready,
            max_replicas=draw(st.none() | st.integers(current, current + 8)),
            scale_out_paused=draw(st.sampled_from([None, False])),
            watts=ready * each,
            replica_watts_p95=each * draw(st.floats(1.0, 1.3)),
            tokens_per_joule=draw(st.none() | st.floats(0.1, 15.0)),
        )
        drawn[domain] += ready * each
    drawn = {name: watts + draw(st.floats(0.0, 3000.0)) for name, watts in drawn.items()}
    drawn["fleet"] += drawn["r1"] + drawn["r2"]
    caps = {name: draw(st.floats(0.3, 3.0)) * max(watts, 1.0) for name, watts in drawn.items()}
    domains = [
        DomainPolicy(
            name=name,
            parent=None if name == "fleet" else "fleet",
            caps=(NamedCap(source="cap", watts=caps[name]),),
        )
        for name in drawn
    ]
    policy = Policy(
        domains=tuple(domains),
        targets=tuple(policies),
        mode=Mode.ENFORCE,
        rungs=frozenset(draw(st.sets(st.sampled_from(Rung))) | {Rung.REPLICAS}),
    )
    return policy, Observation(
        domains={name: measured(watts) for name, watts in drawn.items()}, targets=readings
    )


def measured(watts):
    return DomainReading(power=(PowerReading(samples=(Sample(watts, 1.0),)),))


def with_cap(policy, ratio):
    root = policy.domains[0]
    cap = NamedCap(source="cap", watts=root.cap.watts * ratio)
    return replace(policy, domains=(replace(root, caps=(cap,)), *policy.domains[1:]))


def long_over(policy, observation, *, now=NOW):
    """A state in which every faster rung had its time."""
    return decide(policy, observation, State(), now_seconds=now - 100.0).state


def plan_of(policy, observation, state=None):
    return decide(policy, observation, state or State(), now_seconds=NOW)


def carried_out(observation, actions):
    """The same observation with the objects as the actions leave them."""
    targets = dict(observation.targets)
    for action in actions:
        match action:
            case SetMaxReplicas(ref, replicas) | RestoreMaxReplicas(ref, replicas):
                targets[ref] = replace(targets[ref], max_replicas=replicas)
            case PauseScaleOut(ref):
                targets[ref] = replace(targets[ref], scale_out_paused=True)
            case ResumeScaleOut(ref):
                targets[ref] = replace(targets[ref], scale_out_paused=False)
            case _:
                pass
    return replace(observation, targets=targets)


def unbounded(replicas):
    return math.inf if replicas is None else replicas


def allowed(decision):
    return unbounded(decision.bound)


@few
@given(fleets(), st.booleans())
def test_the_same_observation_asks_for_nothing_more_once_its_plan_is_carried_out(fleet, warmed):
    policy, observation = fleet
    plan = plan_of(policy, observation, long_over(policy, observation) if warmed else None)
    state = plan.state
    for action in plan.actions:
        state = applied(state, action, now_seconds=NOW)
    again = plan_of(policy, carried_out(observation, plan.actions), state)
    assert again.actions == ()


@few
@given(fleets())
def test_under_every_cap_no_replica_is_cut_and_no_work_refused(fleet):
    policy, observation = fleet
    watts = {name: one.power[0].samples[0].value for name, one in observation.domains.items()}
    domains = tuple(
        replace(one, caps=(NamedCap(source="cap", watts=max(one.cap.watts, watts[one.name])),))
        for one in policy.domains
    )
    plan = plan_of(replace(policy, domains=domains), observation)
    for decision in plan.targets:
        assert allowed(decision) >= decision.current_replicas
    assert all(domain.shed == 0 for domain in plan.domains)


@few
@given(fleets())
def test_never_over_budget_when_floors_fit(fleet):
    policy, observation = fleet
    plan = plan_of(policy, observation, long_over(policy, observation))
    for domain in plan.domains:
        assert domain.allocated_watts is not None
        inside = [
            (one, observation.targets[one.ref])
            for one in policy.targets
            if domain.name in ("fleet", one.domain)
        ]
        drawing = sum(reading.watts for _, reading in inside)
        unattributed = domain.watts - drawing
        floors = sum(
            reading.watts * min(1.0, decision.floor / reading.spec_replicas)
            for (one, reading) in inside
            for decision in plan.targets
            if decision.ref == one.ref and reading.spec_replicas
        )
        if unattributed + floors <= domain.cap_watts:
            assert domain.allocated_watts <= domain.cap_watts * (1.0 + 1e-6)


@few
@given(fleets(), st.floats(1.0, 5.0))
def test_more_watts_never_give_a_looser_bound(fleet, ratio):
    policy, observation = fleet
    more = observation.domains["fleet"].power[0].samples[0].value * ratio
    hotter = replace(observation, domains={**observation.domains, "fleet": measured(more)})
    for state in (State(), long_over(policy, hotter)):
        low, high = plan_of(policy, observation, state), plan_of(policy, hotter, state)
        for before, after in zip(low.targets, high.targets, strict=True):
            assert allowed(after) <= allowed(before)
            assert unbounded(after.goal) <= unbounded(before.goal)
        for before, after in zip(low.domains, high.domains, strict=True):
            assert after.band >= before.band
            assert after.price_ratio >= before.price_ratio


@few
@given(fleets(), st.floats(0.01, 1.0))
def test_a_lower_cap_never_gives_more_replicas(fleet, ratio):
    policy, observation = fleet
    lower = with_cap(policy, ratio)
    state = long_over(lower, observation)
    high, low = plan_of(policy, observation, state), plan_of(lower, observation, state)
    for before, after in zip(high.targets, low.targets, strict=True):
        assert allowed(after) <= allowed(before)


@few
@given(fleets())
def test_floors_hold_and_no_bound_exceeds_what_was_there(fleet):
    policy, observation = fleet
    plan = plan_of(policy, observation, long_over(policy, observation))
    for action in plan.actions:
        if isinstance(action, SetMaxReplicas):
            decision = next(one for one in plan.targets if one.ref == action.target)
            reading = observation.targets[action.target]
            assert action.replicas >= decision.floor
            assert action.replicas >= reading.spec_replicas - 1
            if reading.max_replicas is not None:
                assert action.replicas <= reading.max_replicas
        if isinstance(action, SetClock):
            assert policy.clocks.deep_floor_ratio * CURVE.base_hertz <= action.hertz
            assert action.hertz <= CURVE.base_hertz
        assert not isinstance(action, ReleaseClock)


@few
@given(fleets(), st.sampled_from([Mode.OBSERVE, Mode.RECOMMEND]))
def test_only_enforce_acts_and_recommend_says_the_same(fleet, mode):
    policy, observation = fleet
    state = long_over(policy, observation)
    meant = plan_of(policy, observation, state).actions
    plan = plan_of(replace(policy, mode=mode), observation, state)
    assert plan.actions == ()
    assert plan.recommended == (meant if mode is Mode.RECOMMEND else ())


anything = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.just(9.2e18)
counts = st.none() | st.integers(-5, 10**7)
samples = st.lists(st.builds(Sample, anything, st.floats(allow_nan=True)), max_size=4).map(tuple)
power = st.builds(
    PowerReading,
    samples=samples,
    coverage_ratio=anything,
    limit_watts=anything,
    host_ratio=st.floats(allow_nan=True),
)
lies = st.builds(
    Observation,
    domains=st.dictionaries(
        st.sampled_from(["fleet", "r1", "elsewhere"]),
        st.builds(DomainReading, power=st.tuples(power), inlet_celsius=samples),
    ),
    targets=st.dictionaries(
        st.sampled_from(["t0", "t1", "stranger"]),
        st.builds(
            TargetReading,
            age_seconds=st.floats(allow_nan=True),
            spec_replicas=counts,
            status_replicas=counts,
            desired_replicas=counts,
            ready_replicas=counts,
            pending_replicas=counts,
            min_replicas=counts,
            max_replicas=counts,
            watts=anything,
            replica_watts_p95=anything,
            output_tokens_per_second=anything,
            tokens_per_joule=anything,
            domain_shares=st.dictionaries(
                st.sampled_from(["r1", "r2", "elsewhere"]), st.floats(allow_nan=True), max_size=2
            ),
        ),
    ),
)


@few
@given(fleets(), st.lists(lies, min_size=1, max_size=4), st.floats(-20.0, 60.0))
def test_absurd_data_raise_nothing_and_never_collapse_replicas(fleet, turns, limit):
    policy, _ = fleet
    racks = [replace(one, max_inlet_celsius=limit) for one in policy.domains]
    policy, state = replace(policy, domains=tuple(racks)), State()
    for turn, observation in enumerate(turns):
        now = NOW + 200.0 * turn
        plan = decide(policy, observation, state, now_seconds=now)
        state = plan.state
        for action in plan.actions:
            if isinstance(action, SetMaxReplicas):
                current = observation.targets[action.target].current_replicas
                assert action.replicas >= current - 1
                floor = next(one.floor for one in plan.targets if one.ref == action.target)
                assert action.replicas >= floor
            state = applied(state, action, now_seconds=now)
        document = json.loads(json.dumps(to_document(state), allow_nan=False))
        assert from_document(document) == state


@given(
    st.recursive(st.none() | st.floats() | st.text(), st.lists)
    | st.dictionaries(
        st.sampled_from(["domains", "targets", "reservations"]),
        st.dictionaries(
            st.text(),
            st.dictionaries(
                st.sampled_from(
                    ["power", "price_ratio", "reverts", "touched", "turned_seconds", "watts"]
                ),
                st.none() | st.floats() | st.integers() | st.lists(st.floats()),
            ),
        ),
    )
)
def test_a_damaged_document_is_read_as_far_as_it_goes(document):
    from_document(document)


claims = st.dictionaries(
    st.text(min_size=1, max_size=3),
    st.builds(
        Claim,
        demand_watts=st.floats(0.0, 1e5),
        cap_watts=st.floats(0.0, 1e5),
        floor_watts=st.floats(0.0, 1e4),
        weight=st.floats(0.1, 10.0),
        priority=st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)


@given(claims, st.floats(0.0, 3e5))
def test_shares_are_conserved_and_leave_nothing_that_somebody_could_use(children, parent):
    given_watts = shares(parent, children)
    total = sum(given_watts.values())
    caps = sum(claim.cap_watts for claim in children.values())
    assert total <= parent * (1.0 + 1e-9)
    assert math.isclose(total, min(parent, caps), rel_tol=1e-9, abs_tol=1e-6)
    for name, claim in children.items():
        assert 0.0 <= given_watts[name] <= claim.cap_watts * (1.0 + 1e-9)


@given(claims, st.integers(0, 3), st.floats(0.0, 3e5))
def test_shares_are_conserved_down_a_whole_tree(children, depth, parent):
    for _ in range(depth + 1):
        given_watts = shares(parent, children)
        assert sum(given_watts.values()) <= parent * (1.0 + 1e-9)
        parent = max(given_watts.values())
