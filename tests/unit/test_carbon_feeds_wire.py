"""Parsers of the carbon providers: documented answers, absurd ones, and any order of slots."""

import json
import math
from itertools import pairwise

import pytest
from carbon_servers import (
    HOUR,
    HOUR_START,
    NOW,
    maps_forecast,
    maps_latest,
    uk_row,
    watttime_points,
)
from hypothesis import given
from hypothesis import strategies as st

from telemetry.carbon import electricity_maps_wire as maps
from telemetry.carbon import uk_wire as uk
from telemetry.carbon import watttime_wire as watttime
from telemetry.carbon.calendar_times import epoch_seconds, minute_text, wait_seconds
from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.published import Published, joined, reading_at
from telemetry.carbon.slots import IntensityKind, Point, overlaid, plausible_grams, slots_of


def body(value):
    return json.dumps(value).encode()


def grams_at(published, time):
    return reading_at(
        published, kind=IntensityKind.AVERAGE, source="s", now_epoch_seconds=time
    ).grams_per_kilowatt_hour


def reading(published, time):
    return reading_at(published, kind=IntensityKind.AVERAGE, source="s", now_epoch_seconds=time)


def test_the_documented_uk_answer_is_read():
    text = (
        b'{"data":[{"from":"2018-01-20T12:00Z","to":"2018-01-20T12:30Z",'
        b'"intensity":{"forecast":266,"actual":263,"index":"moderate"}}]}'
    )
    [slot] = uk.parse_national(text, now_epoch_seconds=NOW).slots
    assert (slot.grams_per_kilowatt_hour, slot.estimated) == (263.0, False)
    assert slot.start_epoch_seconds == epoch_seconds("2018-01-20T12:00:00+00:00")
    assert slot.end_epoch_seconds - slot.start_epoch_seconds == 1800.0


def test_a_uk_region_has_forecasts_only_and_another_region_is_refused():
    row = uk_row(HOUR_START, 150)
    del row["intensity"]["actual"]
    text = body({"data": {"regionid": 3, "shortname": "North West", "data": [row]}})
    [slot] = uk.parse_regional(text, region=3, now_epoch_seconds=NOW).slots
    assert (slot.grams_per_kilowatt_hour, slot.estimated) == (150.0, True)
    with pytest.raises(FeedError, match="answered for region 3, region 4") as caught:
        uk.parse_regional(text, region=4, now_epoch_seconds=NOW)
    assert caught.value.reason is FeedFailure.WRONG_ZONE


def test_electricity_maps_latest_leads_the_forecast_and_is_held_without_one():
    latest = maps.parse_latest(body(maps_latest(300)), zone="DE", now_epoch_seconds=NOW)
    forecast = maps.parse_forecast(
        body(maps_forecast([310, 320, None, 340])), zone="DE", now_epoch_seconds=NOW
    )
    made = maps.combined(latest, forecast)
    times = [HOUR_START + HOUR * hour for hour in (0, 1, 2, 3, 4)]
    assert [grams_at(made, time) for time in times] == [300.0, 320.0, None, 340.0, None]
    alone = maps.combined(latest, None)
    assert [grams_at(alone, time) for time in times[:3]] == [300.0, 300.0, None]
    assert reading(alone, NOW).age_seconds == NOW - HOUR_START - 600
    assert not reading(alone, NOW).estimated
    assert reading(alone, times[1]).estimated


def test_watttime_pounds_per_megawatt_hour_become_grams_per_kilowatt_hour():
    measured = watttime.parse_points(
        body(watttime_points([1000, 900], start=NOW - 600)),
        region="CAISO_NORTH",
        estimated=False,
        now_epoch_seconds=NOW,
    )
    ahead = watttime.parse_points(
        body(watttime_points([800, 700], start=NOW)),
        region="CAISO_NORTH",
        estimated=True,
        now_epoch_seconds=NOW,
    )
    assert measured.slots[0].grams_per_kilowatt_hour == pytest.approx(453.59237)
    made = watttime.combined(measured, ahead)
    assert grams_at(made, NOW) == pytest.approx(800 * 0.45359237)
    assert grams_at(made, NOW + 700) == pytest.approx(900 * 0.45359237)
    assert grams_at(watttime.combined(measured, None), NOW + 1500) is None


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"region": "PJM"}, FeedFailure.WRONG_ZONE, "region 'PJM'"),
        ({"units": "g_per_kwh"}, FeedFailure.MALFORMED, "co2_moer in g_per_kwh"),
        ({"signal_type": "co2_aoer"}, FeedFailure.MALFORMED, "co2_aoer in lbs"),
    ],
)
def test_watttime_figures_of_another_kind_are_refused(changes, reason, words):
    text = body(watttime_points([1000], **changes))
    with pytest.raises(FeedError, match=words) as caught:
        watttime.parse_points(text, region="CAISO_NORTH", estimated=True, now_epoch_seconds=NOW)
    assert caught.value.reason is reason


@pytest.mark.parametrize("value", [-1, 5001, 9e18, 10**400, "266", True, [1], math.nan, math.inf])
def test_an_absurd_value_is_a_gap_and_alone_it_is_an_error(value):
    assert plausible_grams(value) is None
    points = [
        Point(start_epoch_seconds=0.0, grams_per_kilowatt_hour=100, estimated=True),
        Point(start_epoch_seconds=10.0, grams_per_kilowatt_hour=value, estimated=True),
        Point(start_epoch_seconds=20.0, grams_per_kilowatt_hour=300, estimated=True),
    ]
    slots, refused = slots_of(points, source="s", step_seconds=10.0)
    assert ([slot.start_epoch_seconds for slot in slots], refused) == ([0.0, 20.0], 1)
    with pytest.raises(FeedError, match="no intensity between 0 and 5000"):
        slots_of(points[1:2], source="s", step_seconds=10.0)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b'{"data":[]}',
        b'{"data":[{"from":"soon","to":"later","intensity":{"forecast":1}}]}',
        b'{"data":[{"from":"2018-01-20T12:00","to":"2018-01-20T12:30","intensity":{"forecast":1}}]}',
        b'{"data":[{"from":"2018-01-20T12:00Z","to":"2018-01-20T12:30Z","intensity":{"forecast":NaN}}]}',
        b"[" * 100_000,
        b'{"data":"\xff"}',
    ],
)
def test_what_is_no_answer_is_one_sentence(text):
    with pytest.raises(FeedError) as caught:
        uk.parse_national(text, now_epoch_seconds=NOW)
    assert caught.value.reason is FeedFailure.MALFORMED
    assert str(caught.value).startswith("UK Carbon Intensity")
    assert str(caught.value).count("\n") == 0


@given(st.binary(max_size=200))
def test_no_bytes_break_a_parser_otherwise(text):
    where = {"region": "CAISO_NORTH", "estimated": True}
    for parse in (
        uk.parse_national,
        lambda it, **now: maps.parse_latest(it, zone="DE", **now),
        lambda it, **now: watttime.parse_points(it, **where, **now),
    ):
        with pytest.raises(FeedError):
            parse(text, now_epoch_seconds=NOW)


def test_watttime_values_beyond_any_float_are_left_out():
    text = body(watttime_points([10**400, 1000]))
    made = watttime.parse_points(text, region="CAISO_NORTH", estimated=True, now_epoch_seconds=NOW)
    assert (len(made.slots), made.refused) == (1, 1)


values = st.none() | st.floats(0.0, 5000.0) | st.floats(5001.0, 1e300) | st.floats(-1e9, -1.0)
series = st.lists(values, min_size=1, max_size=40)


@given(series, st.randoms(use_true_random=False))
def test_any_order_of_entries_gives_the_same_slots(grams, random):
    rows = [uk_row(HOUR_START + 1800 * index, value) for index, value in enumerate(grams)]
    shuffled = [*rows, *random.sample(rows, len(rows) // 2)]
    random.shuffle(shuffled)

    def parsed(entries):
        try:
            return uk.parse_national(body({"data": entries}), now_epoch_seconds=NOW)
        except FeedError as error:
            return str(error)

    assert parsed(shuffled) == parsed(rows)


@given(series, st.integers(1, 7200))
def test_slots_are_in_order_apart_and_say_each_known_value_at_its_time_only(grams, step):
    points = [
        Point(start_epoch_seconds=float(step * at), grams_per_kilowatt_hour=value, estimated=True)
        for at, value in enumerate(grams)
    ]
    known = {at: value for at, value in enumerate(grams) if plausible_grams(value) is not None}
    if not known:
        with pytest.raises(FeedError):
            slots_of(points, source="s", step_seconds=step)
        return
    slots, refused = slots_of(points, source="s", step_seconds=step)
    assert all(a.end_epoch_seconds <= b.start_epoch_seconds for a, b in pairwise(slots))
    assert refused == sum(value is not None for value in grams) - len(known)
    found = {slot.start_epoch_seconds / step: slot.grams_per_kilowatt_hour for slot in slots}
    assert found == known
    assert sum(s.end_epoch_seconds - s.start_epoch_seconds for s in slots) == step * len(known)


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30), min_size=1))
def test_an_overlay_keeps_the_upper_and_fills_only_where_that_is_silent(upper, lower):
    def slots(starts, grams, length):
        points = [
            Point(
                start_epoch_seconds=float(at),
                end_epoch_seconds=float(at) + length,
                grams_per_kilowatt_hour=grams,
                estimated=True,
            )
            for at in starts
        ]
        return slots_of(points, source="s", step_seconds=1.0)[0]

    made = overlaid(slots(upper, 1.0, 1.0), slots(lower, 2.0, 1.5))
    published = Published(slots=made, fetched_epoch_seconds=0.0)
    for half in range(300, 370):
        time = half / 2 - 150.0 + 0.25
        in_upper = math.floor(time) in upper
        in_lower = any(at <= time < at + 1.5 for at in lower)
        expected = 1.0 if in_upper else 2.0 if in_lower else None
        said = [
            s.grams_per_kilowatt_hour
            for s in published.slots
            if s.start_epoch_seconds <= time < s.end_epoch_seconds
        ]
        assert said == ([] if expected is None else [expected])


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "\u00e9"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    assert watttime.parse_login(b'{"token":"a.b-c"}') == "a.b-c"
    with pytest.raises(FeedError, match="gave no usable token"):
        watttime.parse_login(body({"token": token}))


def test_watttime_needs_one_of_its_two_answers():
    points = body(watttime_points(["low", 1000]))
    made = watttime.parse_points(
        points, region="CAISO_NORTH", estimated=True, now_epoch_seconds=NOW
    )
    assert (len(made.slots), made.refused) == (1, 1)
    assert watttime.combined(None, made) is made
    with pytest.raises(ValueError, match="neither measured nor forecast"):
        watttime.combined(None, None)


def test_a_time_that_is_none_and_an_answer_without_slots_are_told():
    point = Point(start_epoch_seconds=math.nan, grams_per_kilowatt_hour=1, estimated=True)
    with pytest.raises(FeedError, match="a time of the answer is no time"):
        slots_of([point], source="s", step_seconds=1.0)
    empty = Published(slots=(), fetched_epoch_seconds=NOW)
    assert reading(empty, NOW).reason == "s has no figure at all."


def test_two_values_for_one_time_are_refused():
    rows = [uk_row(HOUR_START, 100), uk_row(HOUR_START, 200)]
    with pytest.raises(FeedError, match="two different entries"):
        uk.parse_national(body({"data": rows}), now_epoch_seconds=NOW)


def test_a_reading_says_why_it_is_silent():
    rows = [uk_row(NOW, 100), uk_row(NOW + 3600, 120)]
    published = uk.parse_national(body({"data": rows}), now_epoch_seconds=NOW)
    said = {
        offset: reading(published, NOW + offset).reason for offset in (-7200, -60, 0, 2000, 9000)
    }
    assert said == {
        -7200: "s: the first figure begins 2 h 0 min after now; the clock here or there may be "
        "wrong.",
        -60: None,
        0: None,
        2000: "s has a gap now.",
        9000: "s: the last figure ended 1 h 0 min ago.",
    }
    assert reading(published, NOW - 60).age_seconds == 0.0


def test_an_answer_without_its_forecast_keeps_the_one_before():
    def published(start, grams, **changes):
        rows = [uk_row(start + 1800 * index, value) for index, value in enumerate(grams)]
        made = uk.parse_national(body({"data": rows}), now_epoch_seconds=start)
        return Published(slots=made.slots, fetched_epoch_seconds=start, **changes)

    old = published(NOW, [100, 200, 300])
    new = published(NOW, [150], missing="There is no forecast: quota.")
    times = (NOW, NOW + 1800, NOW + 3600)
    assert [grams_at(joined(new, old), time) for time in times] == [150.0, 200.0, 300.0]
    assert joined(old, new) is old
    assert reading(joined(new, old), NOW).problem == "There is no forecast: quota."


def test_times_are_read_and_written_in_utc():
    assert minute_text(NOW) == "2023-11-14T22:15Z"
    assert epoch_seconds("2023-11-14T23:15:00+01:00") == NOW
    assert wait_seconds("120", now_epoch_seconds=NOW) == 120.0
    assert wait_seconds("Tue, 14 Nov 2023 22:20:00 GMT", now_epoch_seconds=NOW) == 300.0
    assert wait_seconds("Tue, 14 Nov 2023 22:00:00 GMT", now_epoch_seconds=NOW) == 0.0
    assert [wait_seconds(it, now_epoch_seconds=NOW) for it in (None, "", "soon", "-5")] == [
        None
    ] * 4
