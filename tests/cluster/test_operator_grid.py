"""Carbon's keys, faults and ways out through the loop on an API server: status and metrics."""

import asyncio
import logging

import pytest
from carbon_servers import HOUR, NOW, TOKEN, carbon_server, maps_forecast, maps_latest, uk_row
from grid_harness import grid_loop, metric, secret
from operator_harness import (
    BOUNDS,
    Plant,
    capping,
    changed,
    condition,
    status_of,
    stored,
)
from telemetry_harness import ManualClock

SCHEDULE = {"minCapWatts": 2100, "maxCapWatts": 9000}
HALF = NOW - NOW % 1800


@pytest.fixture
async def server():
    async with carbon_server() as running:
        rows = [uk_row(HALF + 1800 * half, 400 - half) for half in range(97)]
        running.answers = {
            "national": {"data": rows},
            "latest": maps_latest(300),
            "forecast": maps_forecast([310 + hour for hour in range(24)]),
        }
        yield running


async def turns(loop, clock, count=3, seconds=5.0):
    """What a fetch in the background brings is seen one turn later."""
    for _ in range(count):
        clock.advance(seconds)
        await loop.turn()
        await asyncio.sleep(0.02)


def grid(namespace, provider, **carbon):
    block = {"provider": provider, "schedule": SCHEDULE, "defaultCapWatts": 8000, **carbon}
    return capping(namespace, cap=9000, carbon=block, **BOUNDS)


async def test_a_key_is_read_from_its_secret_and_a_new_one_is_taken_up(
    keda, namespace, kubeconfig, server, caplog
):
    clock = ManualClock(epoch_seconds=NOW)
    provider = {
        "type": "ElectricityMaps",
        "zone": "DE",
        "baseUrl": f"{server.url}/maps",
        "secretRef": {"name": "grid", "key": "token"},
        "refreshSeconds": 60,
    }
    document = await stored(keda, grid(namespace, provider))
    async with grid_loop(kubeconfig(), Plant(), clock) as (loop, registry):
        await loop.put(document)
        await turns(loop, clock)
        found = condition(await status_of(keda, namespace), "CarbonUnknown")
        assert (found["status"], found["reason"]) == ("True", "CarbonUnknown")
        assert "Secret grid is not there" in found["message"]
        assert server.asked == []
        await keda.create(secret(namespace, "grid", token="wrong-key-1188"))
        clock.advance(30.0)
        await turns(loop, clock)
        found = condition(await status_of(keda, namespace), "CarbonUnknown")
        assert "answered 401" in found["message"]
        reason = {"reason": "unauthorized"}
        assert metric(registry, "capper_carbon_feed_failures_total", **reason) == 1.0
        assert metric(registry, "capper_carbon_intensity_grams_per_kwh") is None
        data = secret(namespace, "grid", token=f"{TOKEN}\n")["data"]
        await keda.merge("v1", "Secret", namespace, "grid", {"data": data})
        await turns(loop, clock, seconds=31.0)
        status = await status_of(keda, namespace)
        assert condition(status, "CarbonUnknown")["status"] == "False"
        carbon = status["carbon"]
        assert (carbon["source"], carbon["kind"]) == ("Electricity Maps", "average")
        assert (carbon["gramsPerKilowattHour"], carbon["capWatts"]) == (300.0, 9000.0)
        assert carbon["forecastUntil"] > carbon["periodEnd"]
        assert metric(registry, "capper_carbon_intensity_grams_per_kwh") == 300.0
        assert 0.0 <= metric(registry, "capper_carbon_forecast_age_seconds") < HOUR
        assert metric(registry, "capper_carbon_forecast_ahead_seconds") > 20 * HOUR
    assert TOKEN not in caplog.text
    assert "wrong-key-1188" not in caplog.text + str(status)


async def test_a_provider_that_goes_away_is_the_forecast_and_then_the_default(
    keda, namespace, kubeconfig, server, caplog
):
    clock = ManualClock(epoch_seconds=NOW)
    server.answers["national"] = {"data": server.answers["national"]["data"][:4]}  # 2 hours
    provider = {"type": "UKCarbonIntensity", "baseUrl": server.url}
    document = await stored(keda, grid(namespace, provider))
    with caplog.at_level(logging.INFO):
        async with grid_loop(kubeconfig(), Plant(), clock) as (loop, registry):
            await loop.put(document)
            await turns(loop, clock)
            assert (await status_of(keda, namespace))["effectiveCapWatts"] == 2100.0
            server.failing["national"] = (429, {"Retry-After": "86400"})
            await turns(loop, clock, seconds=1800.0, count=2)
            status = await status_of(keda, namespace)
            assert condition(status, "CarbonFeedFailing")["status"] == "True"
            assert "answered 429" in condition(status, "CarbonFeedFailing")["message"]
            assert status["capReason"] == "carbon schedule"
            await turns(loop, clock, seconds=3600.0, count=1)
            status = await status_of(keda, namespace)
            assert condition(status, "CarbonFeedFailing")["status"] == "False"
            assert condition(status, "CarbonUnknown")["status"] == "True"
            assert status["effectiveCapWatts"] == 8000.0
            assert metric(registry, "capper_carbon_feed_failures_total", reason="quota") == 1.0
    said = [line for line in caplog.messages if line.startswith("carbon intensity: ")]
    assert len(said) == 1
    assert "answered 429" in said[0]
    assert server.count("national") == 2, "Retry-After is kept"


async def test_the_ways_out_of_eco_mode(keda, namespace, kubeconfig, server):
    clock = ManualClock(epoch_seconds=NOW - 15.0)  # 22:15
    provider = {"type": "UKCarbonIntensity", "baseUrl": server.url}
    off = {"start": "22:30", "durationSeconds": 1800}
    document = await stored(keda, grid(namespace, provider, ecoModeOff=[off], maxEcoSeconds=7200.0))

    async def said():
        status = await status_of(keda, namespace)
        return status["effectiveCapWatts"], status["carbon"].get("silent", "")

    async with grid_loop(kubeconfig(), Plant(), clock) as (loop, registry):
        await loop.put(document)
        await turns(loop, clock)
        assert await said() == (2100.0, "")
        assert metric(registry, "capper_carbon_eco_mode") == 1.0
        clock.advance(900.0)
        await turns(loop, clock, count=1)
        assert await said() == (9000.0, "ecoModeOff")
        assert metric(registry, "capper_carbon_eco_mode") == 0.0
        assert metric(registry, "capper_carbon_cap_watts") == 2100.0
        clock.advance(1800.0)
        await turns(loop, clock, count=1)
        assert await said() == (2100.0, "")
        carbon = {**document["spec"]["carbon"], "override": True}
        await loop.put(changed(document, carbon=carbon))
        await turns(loop, clock, count=1)
        assert await said() == (9000.0, "override")
        await loop.put(document)
        await turns(loop, clock, count=1)
        assert await said() == (2100.0, "")
        clock.advance(4600.0)
        await turns(loop, clock, count=1)
        assert await said() == (9000.0, "maxEcoSeconds")


async def test_emissions_and_the_budget_are_in_status_and_metrics(keda, namespace, kubeconfig):
    clock = ManualClock(epoch_seconds=20_000 * 86_400.0)
    provider = {"type": "Static", "gramsPerKilowattHour": 100}
    carbon = {"provider": provider, "budget": {"grams": 24_000, "pueRatio": 1.5}}
    document = await stored(keda, capping(namespace, cap=9000, carbon=carbon, **BOUNDS))
    async with grid_loop(kubeconfig(), Plant(), clock) as (loop, registry):
        await loop.put(document)
        await loop.turn()
        clock.advance(36.0)
        await loop.turn()
        carbon = (await status_of(keda, namespace))["carbon"]
        assert carbon["emittedGrams"] == pytest.approx(3.0)  # 36 s of 2 kW, 1.5 times
        assert carbon["budgetLeftGrams"] == pytest.approx(24_000 - 3.0)
        emitted = metric(registry, "capper_carbon_emitted_grams_total", kind="average")
        assert emitted == pytest.approx(3.0)
        assert metric(registry, "capper_carbon_budget_left_grams") == pytest.approx(23_997.0)
        clock.advance(86_400.0)
        await loop.turn()
        later = metric(registry, "capper_carbon_emitted_grams_total", kind="average")
        status = await status_of(keda, namespace)
        assert status["carbon"]["emittedGrams"] == pytest.approx(3.0 / 36.0 * 36.0, rel=0.01)
        assert later == pytest.approx(emitted + status["carbon"]["emittedGrams"])
