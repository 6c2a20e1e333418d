"""Carbon blocks of configurations: which caps they give, and when they are silent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capper.api.carbon_blocks import Carbon
from capper.carbon.caps import is_off, look_at
from capper.carbon.looks import (
    CarbonMemory,
    Drawn,
    memory_document,
    memory_from,
)
from capper.carbon.watch import CarbonWatch
from capper.decide.carbon import CarbonState, EmissionBudget, Slot, metered

HOUR, DAY = 3600.0, 86_400.0
MONDAY = 4 * DAY  # 1970-01-05
DRAWN = Drawn(cap_watts=1000.0, watts=800.0, floor_watts=200.0)
SCHEDULE = {"minCapWatts": 400, "maxCapWatts": 1000}
UNKNOWN = "the provider says nothing of this hour."


def carbon_of(**block):
    provider = {"type": "Static", "gramsPerKilowattHour": 100}
    return Carbon.model_validate({"provider": provider, **block})


def slots_of(*grams, start=MONDAY):
    return tuple(
        Slot(
            start_seconds=start + HOUR * number,
            end_seconds=start + HOUR * (number + 1),
            grams_per_kilowatt_hour=one,
        )
        for number, one in enumerate(grams)
    )


def look(carbon, slots, memory=None, *, now=MONDAY, drawn=DRAWN, problem=""):
    memory = memory or CarbonMemory()
    return look_at(carbon, slots, memory, drawn, problem=problem, now_seconds=now)


def test_the_dirtiest_hour_of_the_day_gets_the_lowest_cap():
    carbon = carbon_of(schedule=SCHEDULE)
    (cap,) = look(carbon, slots_of(400, *[100] * 23)).caps
    assert (cap.source, cap.watts) == ("carbon schedule", 400.0)
    (cap,) = look(carbon, slots_of(50, *[100] * 23)).caps
    assert cap.watts == 1000.0


def test_a_budget_is_metered_and_never_asks_for_less_than_the_floors():
    carbon = carbon_of(budget={"grams": 1200})
    first = look(carbon, slots_of(*[100] * 24))
    (cap,) = first.caps
    assert cap.watts == pytest.approx(500.0)  # 24 h x 0.5 kW x 100 g
    later = look(carbon, slots_of(*[100] * 24), first.memory, now=MONDAY + 12 * HOUR)
    assert later.emitted_grams == pytest.approx(960.0)  # 12 h x 0.8 kW x 100 g
    assert later.caps[0].watts == pytest.approx(200.0)  # 240 g are left: exactly the floors
    last = look(carbon, slots_of(*[100] * 24), later.memory, now=MONDAY + 18 * HOUR)
    assert (last.caps[0].source, last.caps[0].watts) == ("carbon budget", 200.0)
    unseen = Drawn(cap_watts=1000.0)
    assert look(carbon, slots_of(*[100] * 24), last.memory, drawn=unseen).caps[0].watts == 1000.0


@pytest.mark.parametrize(("default", "caps"), [(None, []), (600, [600.0])])
def test_an_unknown_intensity_is_said_and_the_declared_default_counts(default, caps):
    more = {} if default is None else {"defaultCapWatts": default}
    seen = look(carbon_of(schedule=SCHEDULE, **more), (), problem="grid.csv: is gone.")
    assert [cap.watts for cap in seen.caps] == caps
    assert (seen.unknown, seen.grams_per_kilowatt_hour) == ("grid.csv: is gone.", None)
    assert look(carbon_of(schedule=SCHEDULE), slots_of(None)).unknown == UNKNOWN


@pytest.mark.parametrize(
    ("hours", "off"),
    [(-0.1, False), (0.0, True), (3.9, True), (4.1, False), (24.5, False), (7 * 24 + 1, True)],
)
def test_times_off_reach_over_midnight_of_their_own_days(hours, off):
    carbon = carbon_of(
        schedule=SCHEDULE,
        ecoModeOff=[{"start": "22:00", "durationSeconds": 4 * HOUR, "weekdays": ["Mon"]}],
    )
    now = MONDAY + 22 * HOUR + hours * HOUR
    assert is_off(carbon.eco_mode_off, now) is off
    start = now - now % HOUR
    assert bool(look(carbon, slots_of(400, 100, start=start), now=now).caps) is not off


def test_the_override_silences_and_the_meter_goes_on():
    carbon = carbon_of(budget={"grams": 1200}, override=True)
    first = look(carbon, slots_of(*[100] * 24))
    later = look(carbon, slots_of(*[100] * 24), first.memory, now=MONDAY + HOUR)
    assert (first.caps, later.caps) == ((), ())
    assert later.emitted_grams == pytest.approx(80.0)


def test_carbon_holds_the_cap_down_no_longer_than_allowed():
    carbon = carbon_of(schedule={**SCHEDULE, "minChangeSeconds": 1}, maxEcoSeconds=2 * HOUR)
    slots, memory, said = slots_of(*range(500, 470, -1)), None, []
    for hour in range(5):
        seen = look(carbon, slots, memory, now=MONDAY + hour * HOUR)
        memory = seen.memory
        said.append(bool(seen.caps))
    assert said == [True, True, True, False, False]


@given(
    st.builds(
        CarbonMemory,
        state=st.builds(
            CarbonState,
            level=st.none() | st.integers(0, 7),
            emitted_grams=st.floats(0, 1e9),
            metered_seconds=st.none() | st.floats(0, 2e9),
            kind=st.none() | st.sampled_from(["average", "marginal"]),
            kind_changed_seconds=st.none() | st.floats(0, 2e9),
            total_grams=st.floats(0, 1e9),
        ),
        eco_since_seconds=st.none() | st.floats(0, 2e9),
    )
)
def test_the_memory_survives_a_restart(memory):
    assert memory_from(memory_document(memory)) == memory


@given(
    st.lists(
        st.tuples(
            st.floats(-60.0, 2 * DAY),
            st.none() | st.floats(0.0, 900.0),
            st.none() | st.floats(0.0, 500.0),
            st.sampled_from(["average", "marginal", None]),
        ),
        max_size=20,
    )
)
def test_emissions_of_a_kind_only_grow_and_never_by_more_than_the_cap_allows(turns):
    budget = EmissionBudget(grams=1000.0, min_cap_watts=100.0, max_cap_watts=1000.0)
    state, now = CarbonState(), MONDAY
    for seconds, watts, grams, kind in turns:
        now += seconds
        after = metered(
            budget, state, watts=watts, grams_per_kilowatt_hour=grams, now_seconds=now, kind=kind
        )
        same = kind in {None, state.kind} or state.kind is None
        if same:
            most = 1000.0 * max(0.0, seconds) / 3.6e6 * 500.0
            assert state.total_grams <= after.total_grams <= state.total_grams + most + 1e-6
        else:
            assert (after.total_grams, after.kind) == (0.0, kind)
            assert after.emitted_grams <= budget.grams
        assert after.emitted_grams >= 0.0
        state = after


@pytest.mark.parametrize("damaged", [None, [], {}, {"state": 3}, {"state": {"level": "x"}}])
def test_a_damaged_memory_is_an_empty_one(damaged):
    assert memory_from(damaged) == CarbonMemory()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"secretRef": {"name": "grid"}}, "Secret grid, key token: there is no cluster"),
        ({}, "ElectricityMaps needs a credential, from its Secret or from HEADRACE_ELECTRICITY"),
    ],
)
async def test_a_provider_that_cannot_be_asked_is_said_and_hurts_nothing(more, sentence):
    provider = {"type": "ElectricityMaps", "zone": "DE", **more}
    carbon = carbon_of(provider=provider, schedule=SCHEDULE)
    watch = CarbonWatch(environ={})
    seen = await watch.look("a/b", carbon, CarbonMemory(), DRAWN, now_seconds=MONDAY)
    assert seen.caps == ()
    assert sentence in seen.unknown


async def test_a_file_that_goes_away_still_counts_for_its_hours(tmp_path):
    path = tmp_path / "grid.csv"
    path.write_text("time,gCO2/kWh\n1970-01-05T00:00:00Z,100\n1970-01-05T01:00:00Z,200\n")
    provider = {"type": "CSV", "path": str(path), "refreshSeconds": 60}
    carbon, watch = carbon_of(provider=provider, schedule=SCHEDULE), CarbonWatch()

    async def told(now):
        seen = await watch.look("a/b", carbon, CarbonMemory(), DRAWN, now_seconds=now)
        return seen.grams_per_kilowatt_hour, seen.unknown

    assert await told(MONDAY) == (100.0, "")
    path.unlink()
    assert await told(MONDAY + HOUR) == (200.0, "")
    grams, unknown = await told(MONDAY + 2 * HOUR)
    assert grams is None
    assert unknown
    await watch.aclose()
