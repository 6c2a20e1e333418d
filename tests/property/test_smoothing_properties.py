"""What holds of every plan, score and hint."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smoothing_builders import RULES, STEP, STEPS, instance, traces, tree

from capper.decide.smoothing import Dealing, deal, leaf_peaks_watts, peaks_watts
from capper.decide.smoothing_hints import peak_board, placement_hints, with_replica
from capper.decide.smoothing_scores import added, asynchrony, hulls, k_means, peak
from capper.decide.smoothing_weeks import WeekBuilder

LEAVES = ("a", "b", "c", "d")
TREE = tree(*LEAVES, rows={"r1": ("a", "b"), "r2": ("c", "d")})

watts = st.floats(0.0, 1000.0, allow_nan=False).map(lambda value: round(value, 1))
weeks = st.lists(watts, min_size=4, max_size=4).map(lambda day: tuple(day * (STEPS // 4)))
short = st.lists(watts, min_size=3, max_size=3).map(tuple)


@st.composite
def fleets(draw):
    """Up to a dozen instances of a few services, hung anywhere."""
    count = draw(st.integers(1, 12))
    return traces(
        *(
            instance(
                f"i{number}",
                draw(st.sampled_from("stu")),
                draw(st.sampled_from(LEAVES)),
                draw(weeks),
            )
            for number in range(count)
        )
    )


@given(st.lists(short, max_size=8))
def test_asynchrony_lies_between_one_and_the_number_of_traces(parts):
    score = asynchrony(parts)
    assert 1.0 - 1e-9 <= score <= max(1, len(parts)) + 1e-9


@given(st.lists(short, min_size=1, max_size=10), st.integers(1, 5), st.integers(-9, 99))
def test_groups_are_numbered_from_zero_and_the_same_for_the_same_seed(vectors, groups, seed):
    labels = k_means(vectors, groups, seed=seed)
    assert labels == k_means(vectors, groups, seed=seed)
    assert len(labels) == len(vectors)
    assert set(labels) == set(range(max(labels) + 1))
    assert max(labels) < groups
    for one, label in zip(vectors, labels, strict=True):
        same = [at for other, at in zip(vectors, labels, strict=True) if other == one]
        assert set(same) == {label}, "equal vectors are never parted"


@settings(max_examples=60, deadline=None)
@given(fleets(), st.integers(1, 5), st.integers(0, 9))
def test_a_plan_keeps_every_instance_and_every_slot_and_never_raises_the_peaks(
    fleet, clusters, seed
):
    plan = deal(fleet, TREE, Dealing(clusters=clusters, seed=seed))
    assert plan.leaves.keys() == {one.name for one in fleet.instances}
    assert Counter(plan.leaves.values()) == Counter(one.leaf for one in fleet.instances)
    assert peaks_watts(plan.after) <= peaks_watts(plan.before) + 1e-6
    assert plan.moved == sum(plan.leaves[one.name] != one.leaf for one in fleet.instances)


@settings(max_examples=60, deadline=None)
@given(fleets(), st.dictionaries(st.sampled_from(LEAVES), st.integers(3, 12), min_size=4))
def test_dealing_into_given_slots_fills_none_beyond_them(fleet, slots):
    plan = deal(fleet, TREE, Dealing(slots=slots))
    filled = Counter(plan.leaves.values())
    assert all(count <= slots[leaf] for leaf, count in filled.items())
    assert sum(filled.values()) == len(fleet.instances)


@settings(max_examples=60, deadline=None)
@given(fleets())
def test_no_node_peaks_above_the_sum_below_it_nor_the_leaves_below_the_whole(fleet):
    plan = deal(fleet, TREE)
    for found in (plan.before, plan.after):
        peaks = {one.name: one for one in found}
        assert peaks["fleet"].peak_of_sum_watts <= leaf_peaks_watts(found, TREE) + 1e-6
        for one in found:
            assert one.peak_of_sum_watts <= one.sum_of_peaks_watts + 1e-6
    assert plan.before[0].peak_of_sum_watts == pytest.approx(plan.after[0].peak_of_sum_watts)


@settings(max_examples=60, deadline=None)
@given(fleets(), st.data())
def test_a_rise_is_at_most_the_replica_on_every_level_and_sorted(fleet, data):
    board = peak_board(fleet, TREE)
    service = data.draw(st.sampled_from(sorted(fleet.services)))
    hints = placement_hints(board, service)
    replica = peak(fleet.services[service])
    assert {one.leaf for one in hints} == set(LEAVES)
    for one in hints:
        assert -1e-6 <= one.leaf_rise_watts <= replica + 1e-6
        assert one.leaf_rise_watts - 1e-6 <= one.rise_watts <= 3 * replica + 1e-6
    rises = [round(one.rise_watts) for one in hints]
    assert rises == sorted(rises)


@given(st.lists(weeks, min_size=1, max_size=4), st.integers(1, 40))
def test_hulls_keep_peaks_and_are_never_below_a_sum(parts, most):
    found = hulls(parts, most=most)
    assert [peak(one) for one in found] == [peak(one) for one in parts]
    assert all(len(one) <= most for one in found)
    [whole] = hulls([added(parts)], most=most)
    assert all(a >= b - 1e-9 for a, b in zip(added(found), whole, strict=True))


@settings(max_examples=60, deadline=None)
@given(fleets(), st.integers(1, STEPS))
def test_a_board_of_hulls_has_the_same_peaks_and_errs_on_the_safe_side(fleet, most):
    exact, coarse = peak_board(fleet, TREE), peak_board(fleet, TREE, most_steps=most)
    assert coarse.peaks == exact.peaks
    for service, nodes in exact.after.items():
        assert all(coarse.after[service][name] >= watts - 1e-9 for name, watts in nodes.items())


@settings(max_examples=60, deadline=None)
@given(fleets(), st.data())
def test_a_noted_replica_gives_the_board_that_has_it(fleet, data):
    service = data.draw(st.sampled_from(sorted(fleet.services)))
    leaf = data.draw(st.sampled_from(LEAVES))
    board = with_replica(peak_board(fleet, TREE), service, leaf)
    new = instance("new", service, leaf, fleet.services[service])
    rest = [one.watts for one in fleet.instances if one.leaf == leaf]
    assert board.peaks[leaf] == pytest.approx(peak(added([*rest, new.watts])))
    whole = [one.watts for one in fleet.instances]
    assert board.peaks["fleet"] == pytest.approx(peak(added([*whole, new.watts])))
    untouched = [name for name in LEAVES if name != leaf]
    before = peak_board(fleet, TREE).peaks
    assert all(board.peaks[name] == before[name] for name in untouched)


@settings(max_examples=30, deadline=None)
@given(st.lists(watts, min_size=STEPS, max_size=STEPS), st.randoms(use_true_random=False))
def test_readings_may_come_in_any_order(values, random):
    readings = [(slot * STEP, value) for slot, value in enumerate(values)]
    shuffled = list(readings)
    random.shuffle(shuffled)
    built = []
    for listed in (readings, shuffled):
        builder = WeekBuilder(RULES)
        for at, value in listed:
            builder.add("i", "s", "a", at, value)
        built.append(builder.traces())
    assert built[0] == built[1]
