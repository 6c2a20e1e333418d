"""Where a request goes when its pick cannot be reached, and what is remembered of that."""

from dataclasses import replace

import pytest
from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.topology import Fleet
from router.decide.outcome import Pick, Rejection
from router.decide.outliers import Outliers
from router.decide.picker import Picker
from router.decide.request_facts import NO_HINTS
from router.decide.settings import DecideSettings


def in_racks(fleet, racks):
    """The fleet with replica i of each backend in racks[i]."""
    return Fleet(
        tuple(
            replace(
                backend,
                replicas=tuple(
                    replace(replica, domain=rack, node=f"node-{index}")
                    for index, (replica, rack) in enumerate(
                        zip(backend.replicas, racks, strict=True)
                    )
                ),
            )
            for backend in fleet.backends
        )
    )


def picked(picker, **hints):
    pick = picker.pick(chat(**hints), now_seconds=1.0, draw=0.5)
    assert isinstance(pick, Pick)
    return pick


def served_elsewhere(picker, times=1):
    """Requests whose first choice the data plane skips; the last pick."""
    pick = None
    for _ in range(times):
        pick = picked(picker)
        picker.serve(pick, pick.fallbacks[0], now_seconds=1.0)
        picker.settle(pick.ticket, now_seconds=1.0)
    return pick


def test_fallbacks_are_in_other_racks_first():
    fleet = in_racks(make_fleet({"H100": 4}), ["a", "a", "b", "c"])
    racks = {replica.address: replica.domain for replica in fleet.replicas()}
    pick = picked(Picker(fleet, DecideSettings()))
    assert {racks[address] for address in pick.endpoints} == {"a", "b", "c"}


def test_without_racks_fallbacks_are_on_other_nodes():
    fleet = in_racks(make_fleet({"H100": 3}), ["a", "a", "a"])
    [backend] = fleet.backends
    first, second, third = backend.replicas
    shared = replace(backend, replicas=(first, replace(second, node=first.node), third))
    pick = picked(Picker(Fleet((shared,)), DecideSettings(max_endpoints=2)))
    assert pick.endpoints == (first.address, third.address)


@given(count=st.integers(1, 6), most=st.integers(1, 8))
def test_as_many_as_there_are_and_none_twice(count, most):
    pick = picked(Picker(make_fleet({"A100": count}), DecideSettings(max_endpoints=most)))
    assert len(set(pick.endpoints)) == len(pick.endpoints) == min(count, most)


def test_fallbacks_keep_to_the_subset():
    subset = frozenset({"10.0.0.1", "10.0.1.2:8000"})
    hints = NO_HINTS._replace(subset=subset)
    pick = picked(Picker(make_fleet(), DecideSettings()), hints=hints)
    assert set(pick.endpoints) == {"10.0.0.1:8000", "10.0.1.2:8000"}


def test_a_replica_that_is_down_is_no_fallback_after_the_next_snapshot():
    fleet = make_fleet({"A100": 3})
    picker = Picker(fleet, DecideSettings())
    down = picked(picker).fallbacks[0]
    snapshot = make_snapshot(fleet, {down: {SignalKind.HEALTHY_RATIO: 0.0}}, at_seconds=1.0)
    picker.observe(snapshot, PriceBoard(), now_seconds=1.0)
    assert down not in picked(picker).endpoints


def test_one_skip_is_forgiven_and_two_are_not():
    picker = Picker(make_fleet({"A100": 3}), DecideSettings())
    first = served_elsewhere(picker).address
    assert served_elsewhere(picker).address == first
    assert first not in picked(picker).endpoints
    explanation = picker.explain(chat(), now_seconds=1.0)
    verdicts = {view.address: view.verdict for view in explanation.candidates}
    assert verdicts[first] == "skipped lately"


def test_a_skipped_replica_is_asked_again_by_itself():
    picker = Picker(make_fleet({"A100": 3}), DecideSettings())
    first = served_elsewhere(picker, times=2).address
    assert picker.outliers.avoided(now_seconds=1.0) == {first}
    assert picker.outliers.avoided(now_seconds=60.0) == frozenset()


def test_when_all_are_skipped_all_are_tried():
    picker = Picker(make_fleet({"A100": 2}), DecideSettings())
    for replica in make_fleet({"A100": 2}).replicas():
        for _ in range(3):
            picker.outliers.skipped(replica.address, now_seconds=1.0)
    assert picked(picker).address in {"10.0.0.0:8000", "10.0.0.1:8000"}


def test_to_serve_as_first_choice_forgets_all_skips():
    picker = Picker(make_fleet({"A100": 2}), DecideSettings())
    first = served_elsewhere(picker).address
    pick = picked(picker)
    picker.serve(pick, first, now_seconds=1.0)
    assert picker.outliers.score(first, now_seconds=1.0) == 0.0


def test_requests_without_a_prompt_go_to_the_least_loaded():
    picker = Picker(make_fleet({"A100": 3}), DecideSettings())
    busy = picked(picker).address
    endpoints = picker.pass_on(NO_HINTS, now_seconds=1.0, draw=0.0)
    assert len(endpoints) == 3
    assert endpoints[-1] == busy
    nobody = NO_HINTS._replace(subset=frozenset({"192.0.2.1"}))
    assert isinstance(picker.pass_on(nobody, now_seconds=1.0, draw=0.0), Rejection)


@pytest.mark.parametrize("address", ["[fd00::1]:8000", "[fd00::1]:8001"])
def test_a_bare_address_in_a_subset_means_all_its_ports(address):
    [backend] = make_fleet({"A100": 1}).backends
    [replica] = backend.replicas
    fleet = Fleet((replace(backend, replicas=(replace(replica, address=address),)),))
    for entry in ("fd00::1", "[fd00::1]", address):
        hints = NO_HINTS._replace(subset=frozenset({entry}))
        assert picked(Picker(fleet, DecideSettings()), hints=hints).address == address


@given(
    skips=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=60),
    later=st.floats(0, 100),
)
def test_scores_are_bounded_decay_and_are_forgotten(skips, later):
    outliers, now_seconds = Outliers(), 0.0
    for address, gap_seconds in skips:
        now_seconds += gap_seconds
        outliers.skipped(address, now_seconds=now_seconds)
    for address in "abc":
        score = outliers.score(address, now_seconds=now_seconds)
        assert 0.0 <= score <= 6.0
        assert outliers.score(address, now_seconds=now_seconds + later) <= score
    assert outliers.avoided(now_seconds=now_seconds + 21.0) == frozenset()
    outliers.keep_only(frozenset("a"))
    assert outliers.score("b", now_seconds=now_seconds) == 0.0
