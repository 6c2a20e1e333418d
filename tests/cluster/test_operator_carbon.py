"""Carbon in a running loop on an API server: the cap it sets, its figures, and a file's end."""

import pytest
from operator_harness import (
    BOUNDS,
    Plant,
    again,
    bound_of,
    capping,
    condition,
    direct_loop,
    status_of,
    stored,
)
from telemetry_harness import ManualClock

DAY = 86_400.0


async def test_a_budget_lowers_the_cap_and_is_kept_over_a_restart(keda, namespace, kubeconfig):
    clock = ManualClock(epoch_seconds=20_000 * DAY + DAY / 2)
    # 12 h x 2.1 kW x 100 g/kWh are allowed; 2 kW are drawn: Restrict.
    carbon = {
        "provider": {"type": "Static", "gramsPerKilowattHour": 100},
        "budget": {"grams": 2520},
    }
    document = await stored(keda, capping(namespace, cap=9000, carbon=carbon, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        assert await bound_of(keda, namespace) == 9, "what the floors draw is not known yet"
        clock.advance(36.0)
        await loop.turn()
        assert await bound_of(keda, namespace) == 4
        status = await status_of(keda, namespace)
        assert status["effectiveCapWatts"] == pytest.approx(2100.0, rel=0.01)
        assert (status["capReason"], status["band"]) == ("carbon budget", "Restrict")
        assert status["carbonGramsPerKilowattHour"] == 100.0
        assert status["emittedGrams"] == pytest.approx(2.0)  # 36 s of 2 kW
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(await again(keda, document))
        clock.advance(36.0)
        await loop.turn()
        # Not measured yet in this process: the interval counts with the cap, 9 kW.
        status = await status_of(keda, namespace)
        assert status["emittedGrams"] == pytest.approx(2.0 + 9.0)
        await loop.remove(await again(keda, document))
        assert await bound_of(keda, namespace) == 9


async def test_a_file_moves_the_cap_and_its_end_is_said(keda, namespace, kubeconfig, tmp_path):
    clock = ManualClock(epoch_seconds=0.0)
    path = tmp_path / "grid.csv"
    rows = [f"1970-01-01T{hour:02}:00:00Z,{500 - 10 * hour}" for hour in range(24)]
    path.write_text("\n".join(["time,gCO2/kWh", *rows]), encoding="utf-8")
    carbon = {
        "provider": {"type": "CSV", "path": str(path)},
        "schedule": {"minCapWatts": 2100, "maxCapWatts": 9000},
        "defaultCapWatts": 8000,
    }
    document = await stored(keda, capping(namespace, cap=9000, carbon=carbon, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        assert await bound_of(keda, namespace) == 4, "the dirtiest hour of the next day"
        status = await status_of(keda, namespace)
        assert (status["effectiveCapWatts"], status["capReason"]) == (2100.0, "carbon schedule")
        assert condition(status, "CarbonUnknown") is None
        clock.advance(DAY)
        await loop.turn()
        status = await status_of(keda, namespace)
        found = condition(status, "CarbonUnknown")
        assert found["status"] == "True"
        assert "the last figure ended" in found["message"]
        assert status["effectiveCapWatts"] == 8000.0
        assert status["capReason"] == "default cap, carbon intensity is unknown"
