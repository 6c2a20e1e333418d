"""Racks' sensors and their history, read from a real Prometheus."""

import asyncio
import random
import shutil
import subprocess

import pytest
from telemetry_harness import PrometheusServer, exporters, free_port, until

from capper.api.room_blocks import Placement, RackQueries
from capper.observe.askers import Askers
from capper.racks.learning import Learning
from capper.racks.matrix import matrix_in_force
from capper.racks.sensors import Sensors
from fleet.thermal import ThermalModel, rises_celsius
from telemetry.promql import PrometheusQuerier, PrometheusSettings
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.prometheus
RACKS = ("r1", "r2", "r3")
ROOM = ThermalModel(
    racks=RACKS,
    approach_celsius=(2.0, 1.5, 1.0),
    recirculation_kelvin_per_watt=((4e-4, 1e-4, 0.0), (2e-4, 3e-4, 1e-4), (0.0, 5e-5, 2e-4)),
)
HOURS = 14
WINDOW = 1800


def history(now_seconds):
    """Steady states of half an hour, a sample a minute, as OpenMetrics; sensors tell tenths."""
    draws, start = random.Random(3), int(now_seconds) - HOURS * 3600
    rows = {"watts": [], "inlet": [], "supply": []}
    for window in range(HOURS * 3600 // WINDOW):
        supply = 18.0 + draws.choice([0.0, 1.0, 2.0])
        watts = [draws.uniform(2000, 18_000) for _ in RACKS]
        inlets = [supply + rise for rise in rises_celsius(ROOM, watts)]
        for second in range(0, WINDOW, 60):
            at = start + window * WINDOW + second
            rows["supply"].append(f"room_supply {supply} {at}")
            for rack, power, inlet in zip(RACKS, watts, inlets, strict=True):
                noisy = power + draws.gauss(0, 20)
                rows["watts"].append(f'rack_w{{rack="{rack}"}} {noisy:.1f} {at}')
                rows["inlet"].append(f'rack_in{{rack="{rack}"}} {inlet:.1f} {at}')
    lines = []
    for name, metric in (("watts", "rack_w"), ("inlet", "rack_in"), ("supply", "room_supply")):
        lines += [f"# TYPE {metric} gauge", *sorted(rows[name], key=lambda row: row.split()[0])]
    return "\n".join([*lines, "# EOF", ""])


QUERIES = RackQueries(power_watts="rack_w", inlet_celsius="rack_in", supply_celsius="room_supply")


async def learned_by(learning, placement, querier):
    learning.look(RACKS, placement, querier)

    async def done():
        await asyncio.sleep(0)
        return learning.learned

    found = await until(done, seconds=30)
    await learning.aclose()
    return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    if shutil.which("promtool") is None:
        pytest.skip("NO promtool ON PATH: learning is NOT TESTED (apt install prometheus)")
    folder = tmp_path_factory.mktemp("history")
    (folder / "history.txt").write_text(history(SystemClock().epoch_seconds()))
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return folder


async def test_the_matrix_is_learned_from_the_history(recorded):
    server = PrometheusServer(recorded, {}, keeps="15d")
    await server.start()
    querier = PrometheusQuerier(
        PrometheusSettings(url=server.url, timeout_seconds=10.0), SystemClock()
    )
    try:
        placement = Placement(learn_matrix=True, history_seconds=HOURS * 3600, queries=QUERIES)
        learned = await learned_by(Learning(SystemClock()), placement, querier)
        assert learned.refusal is None
        force = matrix_in_force(RACKS, placement, learned)
        assert (force.source, force.problem) == ("learned", "")
        for made, true in zip(
            force.model.recirculation_kelvin_per_watt,
            ROOM.recirculation_kelvin_per_watt,
            strict=True,
        ):
            assert made == pytest.approx(true, abs=3e-5)
        assert learned.error_kelvin < 0.1

        short = Placement(learn_matrix=True, history_seconds=3600, queries=QUERIES)
        refused = await learned_by(Learning(SystemClock()), short, querier)
        assert "steady states, 3 racks need 9" in refused.refusal
        force = matrix_in_force(RACKS, short, refused)
        assert (force.model, force.source) == (None, "absent")
        assert force.problem.endswith("temperatures alone decide")
    finally:
        await querier.aclose()
        await server.stop()


async def test_without_prometheus_nothing_is_learned_and_it_is_said():
    url = f"http://127.0.0.1:{free_port()}"
    querier = PrometheusQuerier(PrometheusSettings(url=url), SystemClock())
    placement = Placement(learn_matrix=True, queries=QUERIES)
    learned = await learned_by(Learning(SystemClock()), placement, querier)
    assert learned.model is None
    assert learned.refusal.startswith("Prometheus does not tell:")
    await querier.aclose()


async def test_sensors_are_read_by_the_users_queries_with_their_ages(tmp_path):
    queries = RackQueries(
        label="cabinet",
        power_watts="sum by (cabinet) (pdu_watts)",
        inlet_celsius="inlet_celsius",
        outlet_celsius="outlet_celsius",
        airflow_cubic_meters_per_second="sum by (((",
        supply_celsius="supply_celsius",
        cooling_watts="chiller_watts + 1",
    )
    async with exporters(1) as (exporter,):
        exporter.expose(
            'pdu_watts{cabinet="r1",feed="a"} 3000',
            'pdu_watts{cabinet="r1",feed="b"} 3500',
            'inlet_celsius{cabinet="r1"} 22.5',
            'inlet_celsius{cabinet="r2"} 9223372036854775807',
            'outlet_celsius{cabinet="r1",side="left"} 40',
            'outlet_celsius{cabinet="r1",side="right"} 41',
            "supply_celsius 18",
            "chiller_watts 20000",
        )
        server = PrometheusServer(tmp_path, {"all": ([exporter.address], {})})
        await server.start()
        askers = Askers(PrometheusSettings(url=server.url), SystemClock())
        try:

            async def seen():
                found = await Sensors(askers, server.url, SystemClock()).read(queries)
                return found.supply and found.power and found.cooling and found

            sensed = await until(seen, seconds=20)
            assert sensed.power["r1"].value == 6500
            assert 0.0 <= sensed.power["r1"].age_seconds < 5.0
            assert sensed.inlet["r1"].value == 22.5
            assert sensed.outlet == {}, "of two series of one rack none is believed"
            assert (sensed.supply.value, sensed.cooling.value) == (18, 20001)
            assert sensed.airflow == {}
            [problem] = sensed.problems
            assert problem.startswith("placement.queries.airflowCubicMetersPerSecond: ")
            sensors = Sensors(askers, server.url, SystemClock())
            sample, why = sensors.believed("r2", "inlet", sensed.inlet["r2"], 5000.0)
            assert why == "the inlet sensor of rack r2 says 9.22337e+18 C, which cannot be"
            assert sample.value != sample.value  # no number, so that it is not taken for absent

            nothing = await Sensors(askers, None, SystemClock()).read(RackQueries())
            assert (nothing.supply, nothing.problems) == (None, ())
        finally:
            await askers.aclose()
            await server.stop()
