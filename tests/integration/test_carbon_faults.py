"""What goes wrong with a carbon provider, as the capper's loop sees it: its cap, its sentence."""

import asyncio
import logging

import pytest
from carbon_servers import HOUR, HOUR_START, NOW, TOKEN, carbon_server, maps_forecast, maps_latest
from carbon_servers import uk_row as row
from telemetry_harness import free_port

from capper.api.carbon_blocks import Carbon
from capper.carbon.looks import CarbonMemory, Drawn
from capper.carbon.watch import CarbonWatch
from capper.cooling.looks import CoolingLook
from capper.operator.grid import carbon_status, grid_conditions

DRAWN = Drawn(cap_watts=10_000.0, watts=8000.0, floor_watts=1000.0)
DEFAULT_WATTS = 7000.0
SCHEDULE = {"minCapWatts": 4000, "maxCapWatts": 10_000}


class OneKey:
    """Secrets with one key in them."""

    def __init__(self, text=TOKEN):
        self.text = text

    async def read(self, _namespace, _name, _key):
        await asyncio.sleep(0)
        return self.text


class Looker:
    """Looks again and again at one configuration."""

    def __init__(self, server, secrets=None, **provider):
        self.watch = CarbonWatch(secrets or OneKey(), environ={})
        self.memory = CarbonMemory()
        self.block = {
            "provider": {"type": "UKCarbonIntensity", "baseUrl": server.url, **provider},
            "schedule": SCHEDULE,
            "defaultCapWatts": DEFAULT_WATTS,
        }

    async def look(self, now=NOW, *, times=2):
        """Twice: what a background fetch brought is seen with the second look."""
        for _ in range(times):
            carbon = Carbon.model_validate(self.block)
            seen = await self.watch.look("llm/row", carbon, self.memory, DRAWN, now_seconds=now)
            self.memory = seen.memory
            await asyncio.sleep(0.02)
        return seen


def conditions(seen):
    return {one.type.value: one.message for one in grid_conditions(seen, CoolingLook())}


@pytest.fixture
async def server():
    async with carbon_server() as running:
        rows = [row(HOUR_START + 1800 * half, 200 + half) for half in range(97)]
        running.answers = {
            "national": {"data": rows},
            "latest": maps_latest(300),
            "forecast": maps_forecast([310 + hour for hour in range(24)]),
        }
        yield running


@pytest.fixture
async def looker(server):
    made = []

    def make(**fields):
        made.append(Looker(server, **fields))
        return made[-1]

    yield make
    for one in made:
        await one.watch.aclose()


def shifted(seconds):
    return {"data": [row(HOUR_START + seconds + 1800 * half, 200) for half in range(4)]}


FAULTS = [
    ({"failing": {"national": (401, {})}}, "unauthorized", "answered 401: not now"),
    ({"failing": {"national": (403, {})}}, "forbidden", "answered 403"),
    ({"failing": {"national": (404, {})}}, "wrong_zone", "answered 404"),
    ({"failing": {"national": (429, {"Retry-After": "60"})}}, "quota", "answered 429"),
    ({"failing": {"national": (500, {})}}, "status", "answered 500"),
    ({"raw": {"national": b"<html>"}}, "malformed", "has not the documented form"),
    ({"raw": {"national": b'{"error": {"code": "x"}}'}}, "error_body", "with an error: x"),
    ({"answers": {"national": {"data": []}}}, "malformed", "no intensity between"),
    ({"answers": {"national": shifted(7200)}}, None, "the clock here or there may be wrong"),
    ({"answers": {"national": shifted(-9000)}}, None, "the last figure ended"),
    ({"hangs": True}, "timeout", "did not answer within 0.2 s"),
    ({"nowhere": True}, "unreachable", "cannot be reached"),
]


@pytest.mark.parametrize(("fault", "reason", "words"), FAULTS, ids=[one[2] for one in FAULTS])
async def test_a_provider_that_never_answered_leaves_the_default_cap(
    server, looker, caplog, fault, reason, words
):
    for field in ("failing", "raw", "answers"):
        setattr(server, field, {**getattr(server, field), **fault.get(field, {})})
    nowhere = {"baseUrl": f"http://127.0.0.1:{free_port()}"} if "nowhere" in fault else {}
    one = looker(timeoutSeconds=0.2, **nowhere)
    if "hangs" in fault:
        server.gate = asyncio.Event()
    with caplog.at_level(logging.INFO):
        for turn in range(4):
            seen = await one.look(NOW + 5 * turn)
    if server.gate is not None:
        server.gate.set()
    assert [cap.watts for cap in seen.caps] == [DEFAULT_WATTS]
    assert conditions(seen).keys() == {"CarbonUnknown"}
    assert words in conditions(seen)["CarbonUnknown"]
    assert seen.told.failures == ({} if reason is None else {reason: 1})
    assert len([line for line in caplog.messages if words in line]) == (reason is not None)
    assert seen.emitted_grams == 0.0


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_the_forecast_serves_until_its_last_slot_and_then_the_default(server, looker, status):
    server.answers["national"] = {"data": server.answers["national"]["data"][:8]}  # 4 hours
    one = looker()
    seen = await one.look()
    assert (conditions(seen), seen.grams_per_kilowatt_hour) == ({}, 200.0)
    server.failing["national"] = (status, {})
    seen = await one.look(NOW + 1.5 * HOUR)
    assert seen.grams_per_kilowatt_hour == 203.0
    assert conditions(seen).keys() == {"CarbonFeedFailing"}
    assert [cap.source for cap in seen.caps] == ["carbon schedule"]
    seen = await one.look(HOUR_START + 4 * HOUR - 1)
    assert seen.grams_per_kilowatt_hour == 207.0
    seen = await one.look(HOUR_START + 4 * HOUR)
    assert conditions(seen).keys() == {"CarbonUnknown"}
    assert [cap.watts for cap in seen.caps] == [DEFAULT_WATTS]
    server.failing.clear()
    server.answers["national"] = {"data": [row(HOUR_START + 4 * HOUR, 90)]}
    seen = await one.look(HOUR_START + 5 * HOUR - 1801)
    assert (conditions(seen), seen.grams_per_kilowatt_hour) == ({}, 90.0)


async def test_a_gap_is_the_default_cap_for_as_long_as_it_lasts(server, looker):
    rows = server.answers["national"]["data"]
    server.answers["national"] = {"data": rows[:2] + rows[4:]}
    one = looker()
    said = []
    for half in range(6):
        seen = await one.look(HOUR_START + 1800 * half + 900)
        said.append([cap.source.split(",")[0] for cap in seen.caps])
    default, ranked = ["default cap"], ["carbon schedule"]
    assert said == [ranked, ranked, default, default, ranked, ranked]


async def test_a_jump_in_the_series_moves_the_cap_one_level_and_no_further(server, looker):
    rows = [row(HOUR_START + 1800 * half, 4900 if half == 2 else 100) for half in range(96)]
    server.answers["national"] = {"data": rows}
    one = looker()
    watts = []
    for half in range(5):
        seen = await one.look(HOUR_START + 1800 * half + 900)
        watts.append(seen.caps[0].watts)
    assert watts == [10_000.0, 10_000.0, 8000.0, 10_000.0, 10_000.0]


async def test_figures_of_the_wrong_zone_are_refused(server, looker):
    server.answers["latest"] = maps_latest(300, zone="FR")
    secret = {"name": "grid"}
    one = looker(type="ElectricityMaps", zone="DE", secretRef=secret, baseUrl=f"{server.url}/maps")
    seen = await one.look()
    assert "answered for zone 'FR', zone 'DE' was asked for" in conditions(seen)["CarbonUnknown"]
    assert seen.told.failures == {"wrong_zone": 1}


async def test_a_new_key_is_taken_up_and_the_last_answer_is_kept_meanwhile(server, looker, caplog):
    key = OneKey()
    one = looker(
        secrets=key,
        type="ElectricityMaps",
        zone="DE",
        secretRef={"name": "grid"},
        baseUrl=f"{server.url}/maps",
    )
    seen = await one.look()
    assert seen.grams_per_kilowatt_hour == 300.0
    key.text = "a-wrong-key-77"
    seen = await one.look(NOW + 1800)
    assert seen.grams_per_kilowatt_hour == 300.0
    assert "answered 401" in conditions(seen)["CarbonFeedFailing"]
    assert seen.told.failures == {"unauthorized": 1}
    key.text = TOKEN
    seen = await one.look(NOW + 1860)
    assert (conditions(seen), seen.told.failures) == ({}, {})
    assert "a-wrong-key-77" not in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in str(seen)


async def test_the_second_source_serves_while_the_first_is_silent(server, looker):
    server.failing["national"] = (500, {})
    one = looker()
    one.block["fallback"] = {"type": "Static", "gramsPerKilowattHour": 120}
    seen = await one.look()
    assert seen.grams_per_kilowatt_hour == 120.0
    assert "answered 500" in conditions(seen)["CarbonFeedFailing"]
    status = carbon_status(seen)
    assert (status.source, status.kind) == ("static", "average")
    server.failing.clear()
    seen = await one.look(NOW + 1800)
    assert (seen.grams_per_kilowatt_hour, conditions(seen)) == (201.0, {})


async def test_another_kind_of_figures_is_said_and_never_added_to_the_first(looker):
    one = looker()
    static = {"type": "Static", "gramsPerKilowattHour": 100}
    one.block |= {"provider": static, "budget": {"grams": 24_000, "periodSeconds": 86_400}}
    await one.look(NOW, times=1)
    seen = await one.look(NOW + HOUR, times=1)
    assert seen.emitted_grams == pytest.approx(800.0)
    one.block["provider"] = {**static, "kind": "marginal"}
    seen = await one.look(NOW + HOUR, times=1)
    part = (NOW + HOUR) % 86_400 / 86_400
    assert seen.emitted_grams == pytest.approx(24_000 * part)
    assert "of another kind (marginal)" in conditions(seen)["CarbonKindChanged"]
    assert (seen.memory.state.total_grams, seen.told.kind) == (0.0, "marginal")
    seen = await one.look(NOW + 2 * HOUR, times=1)
    assert conditions(seen) == {}, "midnight has passed: a new period has one kind"


async def test_many_configurations_of_a_namespace_are_one_question(server):
    carbon = Carbon.model_validate(Looker(server).block)
    watch = CarbonWatch(environ={})
    try:
        for name in ("llm/a", "llm/b", "llm/c"):
            await watch.look(name, carbon, CarbonMemory(), DRAWN, now_seconds=NOW)
        assert server.asked == ["national"]
        await watch.look("other/a", carbon, CarbonMemory(), DRAWN, now_seconds=NOW)
        assert server.asked == ["national", "national"]
    finally:
        await watch.aclose()


async def test_keys_of_the_environment_go_to_the_public_api_only(server):
    one = Looker(server, secrets=None)
    one.watch = CarbonWatch(environ={"HEADRACE_ELECTRICITY_MAPS_TOKEN": TOKEN})
    problem = "where they need a key it comes from secretRef"
    one.block["provider"] = {"type": "ElectricityMaps", "zone": "DE", "baseUrl": server.url}
    with pytest.raises(ValueError, match=problem):
        Carbon.model_validate(one.block)
    assert server.asked == []
