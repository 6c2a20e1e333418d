"""Mean weeks from readings, scores, the dealing, and hints: by hand-made numbers."""

import math

import pytest
from smoothing_builders import (
    DAY,
    NIGHT,
    RULES,
    STEP,
    STEPS,
    day_and_night,
    instance,
    traces,
    tree,
    wave,
)

from capper.decide.policy import ROOT
from capper.decide.smoothing import Dealing, deal, leaf_peaks_watts, reports, slots_of
from capper.decide.smoothing_hints import peak_board, placement_hints, with_replica
from capper.decide.smoothing_scores import asynchrony, k_means, pair_asynchrony, top_services
from capper.decide.smoothing_traces import HistoryError, TraceRules
from capper.decide.smoothing_weeks import WeekBuilder

# Readings


def filled(builder, name, *, service="s", leaf="a", weeks=1, watts=lambda step: 100.0 + step):
    for slot in range(weeks * STEPS):
        value = watts(slot)
        if value is not None:
            builder.add(name, service, leaf, slot * STEP, value)
    return builder


def noted(found, what):
    return [note for note in found.notes if what in note]


def test_the_week_of_an_instance_is_the_mean_over_weeks():
    builder = filled(WeekBuilder(RULES), "i", weeks=2, watts=float)
    found = builder.traces()
    assert found.weeks == 2.0
    assert found.instances[0].watts == tuple(step + STEPS / 2 for step in range(STEPS))
    assert found.services["s"] == found.instances[0].watts


def test_readings_within_a_step_are_averaged_and_the_newest_leaf_counts():
    builder = filled(WeekBuilder(RULES), "i", watts=lambda _: 100.0)
    builder.add("i", "s", "b", 0.0 + STEP / 2, 300.0)
    builder.add("i", "s", "b", STEPS * STEP - 1.0, 100.0)
    found = builder.traces()
    assert found.instances[0].watts[0] == 200.0
    assert found.instances[0].leaf == "b"


def test_weeks_are_those_of_utc_from_a_thursday_on():
    builder = filled(WeekBuilder(RULES), "i", watts=lambda slot: 500.0 if slot == 3 else 100.0)
    assert builder.traces().instances[0].watts.index(500.0) == 3  # Thursday, 18:00


def test_less_than_a_week_is_refused():
    builder = WeekBuilder(RULES)
    for slot in range(STEPS - 2):
        builder.add("i", "s", "a", slot * STEP, 100.0)
    with pytest.raises(HistoryError, match=r"of 6\.5 days, at least 7 days are needed"):
        builder.traces()


def test_a_history_for_which_telemetry_was_gone_is_refused_with_its_coverage():
    builder = filled(WeekBuilder(RULES), "i", watts=lambda s: None if 4 <= s < 12 else 100.0 + s)
    with pytest.raises(HistoryError, match=r"readings for 71% of the time, at least 80%"):
        builder.traces()


def test_the_asked_span_counts_not_that_of_the_readings():
    builder = filled(WeekBuilder(RULES), "i")
    with pytest.raises(HistoryError, match="partial: there are readings for 50% of the time"):
        builder.traces(start_seconds=0.0, end_seconds=2 * STEPS * STEP)


def test_short_gaps_are_bridged_by_straight_lines_over_the_turn_of_the_week_too():
    gaps = {0, STEPS - 1, 8}
    builder = filled(WeekBuilder(RULES), "i", watts=lambda s: None if s in gaps else 100.0 + s)
    watts = builder.traces(start_seconds=0.0, end_seconds=STEPS * STEP).instances[0].watts
    assert watts[8] == pytest.approx(108.0)
    low, high = 100.0 + STEPS - 2, 101.0
    assert watts[STEPS - 1] == pytest.approx(low + (high - low) / 3.0)
    assert watts[0] == pytest.approx(low + 2.0 * (high - low) / 3.0)


def test_an_instance_with_a_short_history_borrows_the_mean_of_its_service():
    builder = filled(WeekBuilder(RULES), "old")
    for slot in range(STEPS - 6, STEPS):
        builder.add("new", "s", "b", slot * STEP, 100.0 + slot)
    found = builder.traces()
    new = next(one for one in found.instances if one.name == "new")
    assert new.borrowed
    assert new.watts == found.services["s"]
    assert noted(found, "new: too short a history, so the mean of its service stands in.")


def test_an_instance_that_was_gone_on_the_last_day_is_not_placed_but_counts_for_its_service():
    builder = filled(WeekBuilder(RULES), "there", watts=lambda _: 300.0 + _ % 2)
    filled(builder, "gone", watts=lambda s: 100.0 + s % 2 if s < STEPS - 5 else None)
    found = builder.traces()
    assert [one.name for one in found.instances] == ["there"]
    assert found.services["s"][0] == 200.0


def test_a_service_with_a_short_history_counts_with_its_highest_reading():
    builder = filled(WeekBuilder(RULES), "old")
    filled(builder, "young", service="t", watts=lambda s: 50.0 + s if s > STEPS - 8 else None)
    found = builder.traces()
    assert set(found.services["t"]) == {50.0 + STEPS - 1}
    assert found.coverage_ratios["t"] == 0.25
    assert noted(found, "t: too short a history, so it counts with its highest reading")
    assert not noted(found, "young")


def test_a_frozen_sensor_is_not_believed():
    builder = filled(WeekBuilder(RULES), "good")
    filled(builder, "frozen", watts=lambda _: 42.0)
    found = builder.traces()
    frozen = next(one for one in found.instances if one.name == "frozen")
    assert frozen.watts == found.services["s"]
    assert 42.0 not in found.services["s"]
    assert noted(found, "frozen: one value for more than a day, so the sensor is not believed.")


@pytest.mark.parametrize("lie", [-1.0, 9.2e18, math.nan, math.inf])
def test_readings_that_lie_are_left_out_and_counted(lie):
    builder = filled(WeekBuilder(RULES), "i")
    builder.add("i", "s", "a", 5 * STEP, lie)
    found = builder.traces()
    assert found.rejected == 1
    assert found.instances[0].watts[5] == 105.0
    assert noted(found, "1 readings are not believed")


def test_a_jump_of_the_load_is_told():
    builder = filled(WeekBuilder(RULES), "i", watts=lambda s: (900.0 if s > 20 else 100.0) + s)
    assert noted(builder.traces(), "i: one day's watts are more than 3 times another's")


def test_an_instance_of_two_services_and_a_step_that_divides_no_week_are_refused():
    builder = filled(WeekBuilder(RULES), "i")
    with pytest.raises(HistoryError, match="i is of service s and of service t"):
        builder.add("i", "t", "a", 0.0, 1.0)
    with pytest.raises(HistoryError, match="must divide a week"):
        WeekBuilder(TraceRules(step_seconds=1000.0))
    with pytest.raises(HistoryError, match="no readings that can be believed"):
        WeekBuilder(RULES).traces()


# Scores


def test_asynchrony_is_one_for_like_traces_and_their_number_where_none_meet():
    assert asynchrony([(1.0, 0.0), (2.0, 0.0)]) == 1.0
    assert asynchrony([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]) == 3.0
    assert pair_asynchrony((3.0, 1.0), (1.0, 3.0)) == 1.5
    assert asynchrony([]) == asynchrony([(0.0, 0.0)]) == 1.0


def test_k_means_parts_what_lies_apart_and_the_seed_only_chooses_where_it_begins():
    vectors = [(1.0,), (1.1,), (5.0,), (5.1,), (9.0,)]
    for seed in range(5):
        labels = k_means(vectors, 3, seed=seed)
        assert labels[0] == labels[1]
        assert labels[2] == labels[3]
        assert len(set(labels)) == 3
    assert k_means([(1.0,)] * 4, 3, seed=0) == (0, 0, 0, 0)
    assert k_means([], 3, seed=0) == ()


def test_the_top_services_are_those_that_draw_most_together():
    services = {"a": (10.0,), "b": (4.0,), "c": (100.0,)}
    assert top_services(services, {"a": 1, "b": 3}, 2) == ("b", "a")


# The plan


def test_day_and_night_share_the_racks():
    plan = deal(day_and_night(), tree("a", "b"))
    assert leaf_peaks_watts(plan.before, tree("a", "b")) == 2 * 4 * 700.0
    assert leaf_peaks_watts(plan.after, tree("a", "b")) == 2 * (2 * 700.0 + 2 * 100.0)
    for leaf in ("a", "b"):
        there = [name[0] for name, place in plan.leaves.items() if place == leaf]
        assert sorted(there) == ["d", "d", "n", "n"]
    assert plan.moved == 4


def test_what_is_dealt_well_already_is_left_as_it_is():
    week = day_and_night()
    mixed = deal(week, tree("a", "b")).leaves
    placed = traces(*(instance(o.name, o.service, mixed[o.name], o.watts) for o in week.instances))
    again = deal(placed, tree("a", "b"))
    assert leaf_peaks_watts(again.after, tree("a", "b")) == leaf_peaks_watts(
        again.before, tree("a", "b")
    )


def test_synchronous_services_gain_nothing():
    flat = [instance(f"i{n}", f"s{n % 2}", "ab"[n % 2], (500.0,) * STEPS) for n in range(8)]
    plan = deal(traces(*flat), tree("a", "b"))
    assert leaf_peaks_watts(plan.after, tree("a", "b")) == 8 * 500.0


def test_rows_are_dealt_over_before_racks():
    week = day_and_night(leaves=("a", "c"))
    power = tree("a", "b", "c", "d", rows={"r1": ("a", "b"), "r2": ("c", "d")})
    plan = deal(week, power, Dealing(slots=dict.fromkeys("abcd", 2)))
    rows = {one.name: one for one in plan.after}
    assert rows["r1"].peak_of_sum_watts == rows["r2"].peak_of_sum_watts == 2 * 800.0
    assert rows[ROOT].depth == 0
    assert rows["r1"].asynchrony == 4 * 700.0 / 1600.0


def test_headroom_is_the_cap_less_the_weekly_peak():
    power = tree("a", "b", caps={"a": 3000.0, ROOT: 5000.0})
    week = day_and_night()
    found = {
        r.name: r for r in reports(week.instances, {o.name: o.leaf for o in week.instances}, power)
    }
    assert found["a"].headroom_watts == 3000.0 - 2800.0
    assert found["b"].headroom_watts is None
    assert found[ROOT].headroom_watts == 5000.0 - 3200.0


def test_slots_are_as_now_or_by_caps():
    week = day_and_night()
    assert slots_of(week.instances, tree("a", "b")) == {"a": 4, "b": 4}
    loose = [instance(f"i{n}", "s", None, (1.0,) * STEPS) for n in range(7)]
    assert slots_of(loose, tree("a", "b", caps={"a": 1000.0, "b": 3000.0})) == {"a": 2, "b": 5}
    assert slots_of(loose, tree("a", "b", caps={"a": 1000.0})) == {"a": 4, "b": 3}


def test_an_unknown_leaf_and_too_few_slots_are_refused():
    with pytest.raises(
        HistoryError, match="d0 hangs on a, which is no leaf of the power tree: b, c"
    ):
        deal(day_and_night(), tree("b", "c"))
    with pytest.raises(HistoryError, match="3 slots for 8 instances"):
        deal(day_and_night(), tree("a", "b"), Dealing(slots={"a": 1, "b": 2}))


# Hints


def test_a_new_replica_goes_where_others_rest():
    board = peak_board(day_and_night(), tree("a", "b"))
    best, other = placement_hints(board, DAY)
    assert (best.leaf, other.leaf) == ("b", "a")
    assert best.leaf_rise_watts == 100.0
    assert other.leaf_rise_watts == 700.0
    assert [one.leaf for one in placement_hints(board, NIGHT)] == ["a", "b"]
    assert placement_hints(board, "unknown") == ()


def test_a_leaf_whose_peak_would_pass_a_cap_on_its_path_is_left_out():
    power = tree("a", "b", caps={"b": 2850.0})
    board = peak_board(day_and_night(), power)
    assert [one.leaf for one in placement_hints(board, DAY)] == ["a"]
    roomy = tree("a", "b", caps={"b": 2950.0})
    best = placement_hints(peak_board(day_and_night(), roomy), DAY)[0]
    assert (best.leaf, best.headroom_watts) == ("b", 50.0)
    assert (
        best.reason
        == "its weekly peak rises by 100 of the replica's 700 W, 50 W of its caps are left"
    )


def test_the_next_hint_knows_of_the_replica_before_it():
    board = peak_board(day_and_night(each=1), tree("a", "b"))
    assert placement_hints(board, DAY)[0].leaf_rise_watts == 100.0
    board = with_replica(board, DAY, placement_hints(board, DAY)[0].leaf)
    assert board.peaks == {ROOT: 1500.0, "a": 700.0, "b": 800.0}
    assert [one.leaf_rise_watts for one in placement_hints(board, DAY)] == [700.0, 700.0]
    assert with_replica(board, "unknown", "a") is board


def test_instances_that_hang_nowhere_count_at_the_root():
    loose = traces(instance("x", DAY, None, wave(100.0, 700.0, by_day=True)))
    board = peak_board(loose, tree("a", "b"))
    assert board.peaks == {ROOT: 700.0, "a": 0.0, "b": 0.0}
