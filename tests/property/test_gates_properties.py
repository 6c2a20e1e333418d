"""Pods at their gates: watts are conserved, nobody waits too long, listing order is nothing."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from capper.decide.gates import Fate, GatedPod, GateRules, RoomView, decide_gates
from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy
from capper.decide.rack_room import Feed, PlacementRules, Rack
from capper.decide.scale_in import RackedPod, costs, victims
from fleet.thermal import ThermalModel

NAMES = ("a", "b", "c", "d")
samples = st.one_of(
    st.none(),
    st.builds(
        Sample,
        st.one_of(st.floats(-1e4, 4e4), st.sampled_from([math.nan, 9e18, -1.0])),
        st.floats(0, 90),
    ),
)
celsius = st.one_of(
    st.none(),
    st.builds(
        Sample, st.one_of(st.floats(10, 40), st.sampled_from([-1.0, 9e18])), st.floats(0, 400)
    ),
)
racks = st.tuples(
    *(
        st.builds(
            Rack,
            name=st.just(name),
            cap_watts=st.floats(1000, 20_000),
            power=samples,
            reserved_watts=st.floats(0, 5000),
            inlet=celsius,
            outlet=celsius,
            max_inlet_celsius=st.one_of(st.none(), st.floats(20, 35)),
            idle_watts=st.floats(0, 2000),
            domains=st.sampled_from([("row",), ("row", "site"), ()]),
        )
        for name in NAMES
    )
)
feeds = st.fixed_dictionaries(
    {
        name: st.builds(
            Feed,
            cap_watts=st.floats(1000, 60_000),
            power=samples,
            reserved_watts=st.floats(0, 5000),
        )
        for name in ("row", "site")
    }
)
models = st.one_of(
    st.none(),
    st.just(
        ThermalModel(
            racks=NAMES,
            approach_celsius=(1.0,) * 4,
            recirculation_kelvin_per_watt=tuple(
                tuple(1e-4 if i == j else 2e-5 for j in range(4)) for i in range(4)
            ),
        )
    ),
)
rooms = st.builds(RoomView, racks=racks, feeds=feeds, model=models)
pods = st.lists(
    st.builds(
        GatedPod,
        key=st.uuids().map(str),
        age_seconds=st.floats(0, 60),
        watts=st.one_of(st.none(), st.floats(1, 6000)),
        racks=st.one_of(st.none(), st.frozensets(st.sampled_from(NAMES))),
    ),
    max_size=8,
    unique_by=lambda pod: pod.key,
)
rules = st.builds(
    GateRules,
    policy=st.sampled_from(PlacementPolicy),
    placement=st.builds(PlacementRules, free_ratio=st.floats(0, 0.3)),
)


@given(room=rooms, waiting=pods, how=rules)
def test_measured_reserved_and_new_watts_never_pass_a_cap_at_admission(room, waiting, how):
    decisions = decide_gates(waiting, room, how)
    new = dict.fromkeys(NAMES, 0.0)
    for one in decisions:
        if one.rack is not None:
            new[one.rack] += one.watts
    caps = [(one, new[one.name]) for one in room.racks]
    for name, feed in room.feeds.items():
        caps.append((feed, sum(new[one.name] for one in room.racks if name in one.domains)))
    for one, added in caps:
        if added:
            assert one.power is not None
            drawn = one.power.value + max(0.0, one.reserved_watts) + added
            assert drawn <= one.cap_watts * (1.0 - how.placement.free_ratio) * (1 + 1e-9) + 1e-6


@given(room=rooms, waiting=pods, how=rules)
def test_every_pod_gets_one_decision_and_none_waits_past_its_time(room, waiting, how):
    decisions = {one.key: one for one in decide_gates(waiting, room, how)}
    assert decisions.keys() == {one.key for one in waiting}
    for pod in waiting:
        one = decisions[pod.key]
        assert (one.rack is not None) == (one.fate is Fate.PLACED)
        assert one.reason
        if pod.watts is None or pod.age_seconds >= how.gate_seconds:
            assert one.fate is Fate.LET_GO
        if one.rack is not None:
            assert pod.racks is None or one.rack in pod.racks
            assert one.rack not in one.avoid


@given(room=rooms, waiting=pods, how=rules, order=st.randoms())
def test_the_order_in_which_pods_are_listed_changes_nothing(room, waiting, how, order):
    shuffled = list(waiting)
    order.shuffle(shuffled)
    assert set(decide_gates(waiting, room, how)) == set(decide_gates(shuffled, room, how))


racked = st.lists(
    st.builds(
        RackedPod,
        name=st.uuids().map(str),
        rack=st.one_of(st.none(), st.sampled_from((*NAMES, "elsewhere"))),
        created_seconds=st.floats(0, 1e6),
    ),
    max_size=10,
    unique_by=lambda pod: pod.name,
)


@given(racks=racks, candidates=racked, count=st.integers(0, 12))
def test_victims_are_few_known_and_each_named_once(racks, candidates, count):
    chosen = victims(candidates, racks, count, PlacementRules())
    assert len(chosen) == len(set(chosen)) <= count
    by_name = {pod.name: pod for pod in candidates}
    assert all(by_name[name].rack in NAMES for name in chosen)
    found = costs(chosen)
    assert [found[name] for name in chosen] == sorted(found.values())
    assert all(value < 0 for value in found.values())


@given(room=rooms, waiting=pods, how=rules, most=st.integers(0, 3))
def test_a_turn_that_is_cut_short_is_the_beginning_of_the_whole_one(room, waiting, how, most):
    whole = decide_gates(waiting, room, how)
    short = decide_gates(waiting, room, replace(how, rankings=most))
    placed = [one for one in short if one.rack is not None]
    assert placed == [one for one in whole if one.rack is not None][: len(placed)]
    assert len(placed) <= most
    assert {one.key for one in short if one.fate is Fate.LET_GO} == {
        one.key for one in whole if one.fate is Fate.LET_GO
    }


@given(room=rooms, waiting=pods, how=rules)
def test_pods_that_are_alike_fare_as_if_each_were_looked_at(room, waiting, how):
    doubled = waiting + [replace(pod, key=f"{pod.key}-twin") for pod in waiting]
    decisions = {one.key: one for one in decide_gates(doubled, room, how)}
    left = room
    for pod in sorted(doubled, key=lambda one: (-one.age_seconds, one.key)):
        one = decisions[pod.key]
        [alone] = decide_gates([pod], left, how)
        assert (alone.fate, alone.rack) == (one.fate, one.rack)
        if one.rack is not None:
            left = left.reserving(one.rack, one.watts)
