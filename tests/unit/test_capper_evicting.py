"""Emergency eviction: only where asked for, late, above every floor, one at a time."""

import itertools
from dataclasses import replace

import pytest
from capper_builders import policy_of, run, seen, target
from hypothesis import given
from hypothesis import strategies as st

from capper.actuators.eviction import victim
from capper.decide.memory import applied
from capper.decide.observation import Observation
from capper.decide.overlap import resolve
from capper.decide.plan import EvictReplica
from capper.decide.policy import Mode, TargetKind, TargetPolicy
from capper.decide.state import State
from capper.decide.tuning import Pacing

START = 1000.0
ASKED = Pacing(evict_after_seconds=120.0)


def evicted(plan):
    return [(one.target, one.floor) for one in plan.actions if isinstance(one, EvictReplica)]


def turns(policy, observation, *, seconds, step=10.0, done=None):
    """(time, targets that are evicted from) of each turn; its actions are carried out."""
    state, found, now = State(), [], START
    while now <= START + seconds:
        plan = run(policy, observation, state, now=now)
        found += [(now - START, one) for one in evicted(plan)]
        state = plan.state
        for action in plan.actions:
            if done is None or isinstance(action, done):
                state = applied(state, action, now_seconds=now, pacing=policy.pacing)
        now += step
    return found


# The bound has been written long ago and nobody follows it: no autoscaler is at work.
STUCK = seen(12_500.0, a=target(6, each=2000.0, top=1, ready_replicas=6))


def test_never_unless_asked_for():
    assert turns(policy_of(), STUCK, seconds=3600) == []


def test_over_the_cap_for_long_one_replica_goes_in_an_interval():
    times = [at for at, _ in turns(policy_of(pacing=ASKED), STUCK, seconds=300)]
    assert times[0] == 120.0
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {60.0}
    assert len(times) == 4


def test_a_bound_that_still_falls_goes_first():
    """While bounds take a replica a minute, nothing is evicted besides."""
    over = seen(12_500.0, a=target(6, each=2000.0, top=9))
    assert turns(policy_of(pacing=ASKED), over, seconds=100) == []
    found = turns(policy_of(pacing=ASKED), over, seconds=119 + 60)
    assert len(found) <= 1


@pytest.mark.parametrize(
    ("policy", "observation"),
    [
        (policy_of(pacing=ASKED), seen(9_000.0, a=target(6, each=1500.0, top=1))),
        (policy_of(pacing=ASKED), seen(None, a=target(6, each=2000.0, top=1))),
        (
            policy_of(TargetPolicy(ref="a", min_replicas=6), pacing=ASKED),
            STUCK,
        ),
        (
            policy_of(pacing=ASKED),
            seen(12_500.0, a=target(6, each=2000.0, top=1, disruption_floor=6)),
        ),
        (
            policy_of(pacing=ASKED),
            seen(12_500.0, a=target(6, each=2000.0, top=1, ready_replicas=3, disruption_floor=3)),
        ),
        (policy_of(TargetPolicy(ref="a", kind=TargetKind.LOCAL), pacing=ASKED), STUCK),
        (replace(policy_of(pacing=ASKED), rungs=frozenset()), STUCK),
    ],
    ids=["under", "blind", "policy floor", "budget", "few are ready", "local", "bounds are off"],
)
def test_where_nothing_may_go_nothing_goes(policy, observation):
    assert turns(policy, observation, seconds=900) == []


def test_the_lowest_priority_gives_first():
    policy = policy_of(
        TargetPolicy(ref="a", priority=5), TargetPolicy(ref="b", priority=0), pacing=ASKED
    )
    over = seen(11_000.0, a=target(5, each=1000.0, top=1), b=target(6, each=1000.0, top=1))
    assert {ref for _, (ref, _) in turns(policy, over, seconds=170)} == {"b"}


def test_recommend_only_says_so():
    policy = policy_of(pacing=replace(ASKED, evict_after_seconds=1.0))
    first = run(replace(policy, mode=Mode.RECOMMEND), STUCK, now=START)
    plan = run(replace(policy, mode=Mode.RECOMMEND), STUCK, first.state, now=START + 10.0)
    assert plan.actions == ()
    (one,) = [one for one in plan.recommended if isinstance(one, EvictReplica)]
    assert (one.target, one.floor) == ("a", 1)
    assert "over the cap for 10 s: 4 of 6 replicas fit, and 1 stay ready" in one.why.sentence


def test_of_two_configurations_one_evicts():
    policy = policy_of(pacing=replace(ASKED, evict_after_seconds=1.0))
    first = run(policy, STUCK, now=START)
    plan = run(policy, STUCK, first.state, now=START + 10.0)
    resolved = resolve({"x": plan, "y": plan})
    assert [evicted(one) for one in resolved.values()] == [[("a", 1)], []]


@given(
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(0, 5),
    st.none() | st.integers(0, 9),
    st.floats(0.5, 2.0),
)
def test_the_floor_stays_ready_whatever_is_seen(current, ready, least, disruption, ratio):
    reading = target(
        current,
        each=1000.0,
        top=1,
        ready_replicas=min(ready, current),
        disruption_floor=disruption,
    )
    policy = policy_of(TargetPolicy(ref="a", min_replicas=least), pacing=ASKED)
    observation = Observation(domains=seen(10_000.0 * ratio).domains, targets={"a": reading})
    for _, (_, floor) in turns(policy, observation, seconds=300, step=30.0):
        assert floor <= min(ready, current) - 1
        assert floor == max(least, disruption or 0, 1)


def pod(name, *, ready=True, cost=None, created="2026-01-01T00:00:00Z", phase="Running", **meta):
    annotations = {} if cost is None else {"controller.kubernetes.io/pod-deletion-cost": cost}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "annotations": annotations,
            **meta,
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


@pytest.mark.parametrize(
    ("pods", "floor", "name"),
    [
        ([], 0, None),
        ([pod("a"), pod("b")], 1, "a"),
        ([pod("a"), pod("b")], 2, None),
        ([pod("a"), pod("b", created="2026-02-01T00:00:00Z")], 1, "b"),
        ([pod("a"), pod("b", cost="-5"), pod("c", cost="5")], 1, "b"),
        ([pod("a"), pod("b", cost="x")], 1, "a"),
        ([pod("a"), pod("b", ready=False)], 1, "b"),
        ([pod("a"), pod("b", deletionTimestamp="2026-01-01T00:00:00Z")], 0, None),
        ([pod("a", phase="Succeeded"), pod("b")], 1, None),
    ],
    ids=str,
)
def test_who_goes(pods, floor, name):
    assert victim(pods, floor=floor) == name
