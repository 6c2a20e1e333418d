"""Static and CSV feeds, chains, what a declared provider becomes, and emissions."""

import math
import os
from itertools import pairwise
from pathlib import Path

import pytest
from carbon_servers import NOW, settled
from hypothesis import given
from hypothesis import strategies as st

from telemetry.carbon.building import FeedSettings, feed_of
from telemetry.carbon.csv_rows import slots_of_rows
from telemetry.carbon.emission import PowerSpan, emission
from telemetry.carbon.failures import FeedSettingsError
from telemetry.carbon.feed import CachedFeed
from telemetry.carbon.local_feeds import ChainedFeed, CsvProvider, StaticFeed
from telemetry.carbon.slots import IntensityKind, IntensitySlot

DATA = Path(os.environ.get("HEADRACE_DATA", Path(__file__).parents[3] / "shared/data"))
HEAD = "time,gCO2/kWh\n"
ROWS = "2023-11-14T22:00:00Z,100\n2023-11-14T23:00:00Z,\n2023-11-15T00:00:00Z,300\n"
HOUR = 3600.0


def slots_of_text(text):
    return slots_of_rows(text.splitlines(keepends=True), name="grid.csv")


def csv_feed(path, **changes):
    provider = CsvProvider(path, **changes)
    return CachedFeed(provider, key=str(path), refresh_seconds=1800.0)


async def test_a_static_feed_says_its_number_now_and_ahead():
    feed = StaticFeed(400.0, kind=IntensityKind.MARGINAL)
    reading = await feed.read(now_epoch_seconds=NOW)
    assert (reading.grams_per_kilowatt_hour, reading.kind) == (400.0, IntensityKind.MARGINAL)
    [slot] = reading.slots
    assert slot.end_epoch_seconds - NOW == 172_800.0


@pytest.mark.parametrize("grams", [-1.0, math.nan, math.inf, 5000.1])
def test_a_static_number_that_cannot_be_is_refused(grams):
    with pytest.raises(FeedSettingsError, match=r"gramsPerKilowattHour: .* allowed are 0 to 5000"):
        StaticFeed(grams)


def test_an_empty_cell_is_a_gap():
    slots = slots_of_text(HEAD + ROWS)
    assert [slot.grams_per_kilowatt_hour for slot in slots] == [100.0, 300.0]
    assert slots[1].start_epoch_seconds - slots[0].end_epoch_seconds == HOUR


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: there is no column time or timestamp or datetime, the columns are none."),
        ("time,watts\n" + ROWS, "line 1: there is no column grams_per_kilowatt_hour or"),
        (HEAD, "at least two rows are needed"),
        (HEAD + '"' + "x" * 200_000, "line 2: field larger than field limit"),
        (HEAD + ROWS + "soon,5\n", "line 5: 'soon' is no RFC 3339 time."),
        (HEAD + "2023-11-14T22:00:00,5\n", "line 2: '2023-11-14T22:00:00' has no offset from UTC"),
        (HEAD + ROWS + "2023-11-15T01:00:00Z\n", "line 5: the row has 1 columns, 2 at least"),
        (HEAD + ROWS + "2023-11-15T00:00:00Z,5\n", "line 5: the time is the same as"),
        (HEAD + ROWS + "2023-11-14T22:30:00Z,5\n", "line 5: the time is before that"),
        (HEAD + ROWS + "2023-11-15T03:00:00Z,5\n", "line 5: the time is 10800 s after the row"),
        (HEAD + ROWS + "2023-11-15T00:10:00Z,5\n", "line 5: the time is 600 s after the row"),
        (HEAD + ROWS + "2023-11-15T01:00:00Z,-5\n", "line 5: '-5' is no intensity, allowed are 0"),
        (HEAD + ROWS + "2023-11-15T01:00:00Z,nan\n", "line 5: 'nan' is no intensity"),
        (HEAD + ROWS + "2023-11-15T01:00:00Z,9e18\n", "line 5: '9e18' is no intensity"),
        (HEAD + ROWS + "2023-11-15T01:00:00Z,low\n", "line 5: 'low' is no intensity"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_with_its_line(text, problem):
    with pytest.raises(FeedSettingsError) as caught:
        slots_of_text(text)
    assert str(caught.value).startswith("grid.csv: ")
    assert problem in str(caught.value)
    assert str(caught.value).count("\n") == 0


@given(st.lists(st.none() | st.floats(0.0, 5000.0), min_size=2, max_size=50), st.data())
def test_a_series_reads_back_and_no_row_may_move(grams, data):
    rows = [
        f"2023-11-14T00:{minute:02}:00Z,{'' if value is None else repr(value)}\n"
        for minute, value in enumerate(grams)
    ]
    slots = slots_of_text(HEAD + "".join(rows))
    assert [it.grams_per_kilowatt_hour for it in slots] == [it for it in grams if it is not None]
    assert all(a.end_epoch_seconds <= b.start_epoch_seconds for a, b in pairwise(slots))
    moved = data.draw(st.permutations(rows))
    if moved != rows:
        with pytest.raises(FeedSettingsError, match=r"grid\.csv: line \d+: the time is"):
            slots_of_text(HEAD + "".join(moved))


@pytest.mark.parametrize("grid", ["CISO", "ERCO", "NYIS", "AZPS"])
async def test_a_recorded_year_is_served_as_it_is_and_ends_with_a_reason(grid):
    path = DATA / f"carbon/us-2022-hourly/{grid}.csv"
    if not path.exists():
        pytest.skip("HEADRACE_DATA has no carbon series")
    last = path.read_text(encoding="utf-8").splitlines()[-1]
    new_year = 1_672_531_200.0  # 2023-01-01T00:00:00Z
    feed = csv_feed(path)
    reading = await settled(feed, now=new_year - 10.0)
    assert reading.grams_per_kilowatt_hour == float(last.rpartition(",")[2])
    assert len(reading.slots) == 1
    after = await feed.read(now_epoch_seconds=new_year + 600.0)
    assert after.grams_per_kilowatt_hour is None
    assert after.reason == "csv: the last figure ended 10 min ago."
    await feed.aclose()


async def test_a_file_that_breaks_leaves_the_last_good_rows_and_says_so(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text(HEAD + ROWS, encoding="utf-8")
    feed = csv_feed(path)
    assert (await settled(feed, now=NOW)).grams_per_kilowatt_hour == 100.0
    path.write_text(HEAD + "soon,1\n", encoding="utf-8")
    reading = await settled(feed, now=NOW + 1800.0)
    assert reading.grams_per_kilowatt_hour == 100.0
    assert reading.problem == f"{path}: line 2: 'soon' is no RFC 3339 time."
    path.write_text(HEAD + ROWS.replace(",100", ",111"), encoding="utf-8")
    reading = await settled(feed, now=NOW + 1860.0)
    assert (reading.grams_per_kilowatt_hour, reading.problem) == (111.0, None)
    await feed.aclose()


async def test_a_file_that_is_not_there_or_is_not_text_is_a_reason(tmp_path):
    feed = csv_feed(tmp_path / "none.csv")
    reading = await feed.read(now_epoch_seconds=NOW)
    assert reading.reason == f"{tmp_path / 'none.csv'}: cannot be read: No such file or directory."
    (tmp_path / "raw.csv").write_bytes(b"\xff\xfe\x00")
    feed = csv_feed(tmp_path / "raw.csv")
    reading = await feed.read(now_epoch_seconds=NOW)
    assert reading.reason == f"{tmp_path / 'raw.csv'}: is not UTF-8 text."


async def test_a_file_of_another_year_is_a_reason(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text(HEAD + ROWS, encoding="utf-8")
    reading = await csv_feed(path).read(now_epoch_seconds=NOW + 400 * 86_400.0)
    assert reading.reason == f"{path} has no figure for now or the next two days."


async def test_what_could_be_read_for_ever_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", tmp_path):
        reading = await csv_feed(path).read(now_epoch_seconds=NOW)
        assert reading.reason == f"{path}: is not a regular file."
    with (tmp_path / "long.csv").open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    reading = await csv_feed(tmp_path / "long.csv").read(now_epoch_seconds=NOW)
    assert reading.reason == f"{tmp_path / 'long.csv'}: is larger than 16777216 bytes."


async def test_a_chain_falls_back_within_one_kind_only(tmp_path):
    silent = csv_feed(tmp_path / "none.csv")
    chain = ChainedFeed([silent, StaticFeed(250.0)])
    reading = await chain.read(now_epoch_seconds=NOW)
    assert (reading.grams_per_kilowatt_hour, reading.source) == (250.0, "static")
    reading = await ChainedFeed([silent]).read(now_epoch_seconds=NOW)
    assert reading.grams_per_kilowatt_hour is None
    assert "cannot be read" in reading.reason
    with pytest.raises(FeedSettingsError, match=r"csv \(average\), static \(marginal\)"):
        ChainedFeed([silent, StaticFeed(1.0, kind=IntensityKind.MARGINAL)])
    with pytest.raises(FeedSettingsError, match="at least one feed"):
        ChainedFeed([])
    await chain.aclose()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "ElectricityMaps", "zone": "DE"}, "from HEADRACE_ELECTRICITY_MAPS_TOKEN"),
        ({"type": "ElectricityMaps", "credential": "k"}, "zone: type ElectricityMaps needs it."),
        ({"type": "ElectricityMaps", "zone": "DE", "credential": "se\nkey"}, "that no header"),
        ({"type": "WattTime", "zone": "PJM"}, "from HEADRACE_WATTTIME_LOGIN"),
        ({"type": "WattTime", "zone": "PJM", "credential": "sekey"}, "the form user:password"),
        ({"type": "UKCarbonIntensity", "zone": "London"}, "allowed are 1 to 17"),
        ({"type": "UKCarbonIntensity", "zone": "18"}, "allowed are 1 to 17"),
        ({"type": "UKCarbonIntensity", "refresh_seconds": 5.0}, "refreshSeconds: 5 is too often"),
        ({"type": "Static"}, "gramsPerKilowattHour: type Static needs it."),
        ({"type": "CSV"}, "path: type CSV needs it."),
    ],
)
def test_a_provider_that_cannot_be_made_is_one_sentence_without_its_key(fields, problem):
    with pytest.raises(FeedSettingsError) as caught:
        feed_of(FeedSettings(**fields), environ={})
    assert problem in str(caught.value)
    assert not {"key", "sekey"} & set(str(caught.value).split())


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "UKCarbonIntensity", "zone": "13"}, IntensityKind.AVERAGE),
        ({"type": "ElectricityMaps", "zone": "DE"}, IntensityKind.AVERAGE),
        ({"type": "WattTime", "zone": "PJM"}, IntensityKind.MARGINAL),
        ({"type": "Static", "grams_per_kilowatt_hour": 1.0}, IntensityKind.AVERAGE),
        ({"type": "CSV", "path": "x", "kind": IntensityKind.MARGINAL}, IntensityKind.MARGINAL),
    ],
)
async def test_every_declared_type_becomes_a_feed_of_its_kind(fields, kind):
    environ = {"HEADRACE_ELECTRICITY_MAPS_TOKEN": "k", "HEADRACE_WATTTIME_LOGIN": "u:p:q"}
    feed = feed_of(FeedSettings(**fields), environ=environ)
    assert feed.kind is kind
    await feed.aclose()
    assert "secret" not in repr(FeedSettings(type="WattTime", credential="u:secret"))


def hours(grams):
    return [
        IntensitySlot(
            start_epoch_seconds=HOUR * at,
            end_epoch_seconds=HOUR * (at + 1),
            grams_per_kilowatt_hour=value,
            estimated=False,
        )
        for at, value in enumerate(grams)
        if value is not None
    ]


def span(start, end, watts):
    return PowerSpan(
        start_epoch_seconds=start * HOUR, end_epoch_seconds=end * HOUR, power_watts=watts
    )


def test_emissions_are_power_times_intensity_times_pue():
    made = emission([span(0.5, 2.0, 2000.0)], hours([100.0, 400.0]), pue_ratio=1.25)
    assert made.grams == pytest.approx(1.25 * 2.0 * (0.5 * 100 + 1.0 * 400))
    assert made.energy_joules == pytest.approx(1.25 * 2000.0 * 1.5 * HOUR)
    assert made.covered_ratio == 1.0


def test_what_is_not_known_is_not_emitted_but_told():
    made = emission([span(0, 2, 1000.0), span(2, 4, None)], hours([100.0, None, 100.0, 100.0]))
    assert (made.grams, made.covered_ratio) == (pytest.approx(100.0), 0.25)
    assert emission([span(0, 1, None)], hours([1.0])).grams is None
    assert emission([], hours([1.0])).covered_ratio is None
    with pytest.raises(ValueError, match="at least 1"):
        emission([], [], pue_ratio=math.nan)


powers = st.lists(st.none() | st.floats(0.0, 1e6), min_size=1, max_size=12)
intensities = st.lists(st.none() | st.floats(0.0, 5000.0), min_size=1, max_size=12)


@given(powers, intensities, st.floats(1.0, 3.0), st.floats(0.1, 0.9))
def test_emissions_add_up_over_any_cut_and_never_cover_more_than_there_is(watts, grams, pue, cut):
    slots = hours(grams)
    whole = [span(at, at + 1, value) for at, value in enumerate(watts)]
    parts = [span(at, at + cut, value) for at, value in enumerate(watts)]
    parts += [span(at + cut, at + 1, value) for at, value in enumerate(watts)]
    one = emission(whole, slots, pue_ratio=pue)
    two = emission(parts, slots, pue_ratio=pue)
    assert (two.grams is None) == (one.grams is None)
    assert (two.grams or 0.0) == pytest.approx(one.grams or 0.0, rel=1e-9, abs=1e-9)
    assert two.energy_joules == pytest.approx(one.energy_joules)
    both = sum(a is not None and b is not None for a, b in zip(watts, grams, strict=False))
    assert one.covered_seconds == pytest.approx(HOUR * both)
    assert one.covered_seconds <= one.total_seconds
