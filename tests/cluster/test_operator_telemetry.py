"""Exporters and Prometheus go and come back under a running operator: no cap rises meanwhile."""

import contextlib

import pytest
from operator_harness import (
    bound_of,
    capper,
    capping,
    condition,
    eventually,
    status_of,
)
from power_board import Board
from telemetry_harness import PrometheusServer

from capper.observe.observer import PrometheusObserver
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.prometheus

BOARDS = 4
SPEC = {
    "metrics": [
        {
            "query": "sum(rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[5s])) / 1000",
            "scopeCount": BOARDS,
        }
    ],
    "freshness": {"staleAfterSeconds": 4, "safeAfterSeconds": 600},
    "safety": {"dwellSeconds": 1, "leaveSamples": 1, "growIntervalSeconds": 0.2},
    "replicaBounds": {"preferPausedScaleOut": False},
    "price": {"enabled": False},
}


@pytest.fixture
async def boards():
    made = [Board(2400.0) for _ in range(BOARDS)]
    for board in made:
        await board.start()
    yield made
    for board in made:
        await board.stop()


@pytest.fixture
async def prometheus(tmp_path, boards):
    jobs = {"dcgm": (tuple(one.address for one in boards), {})}
    server = PrometheusServer(tmp_path, jobs, interval="500ms", timeout="500ms")
    await server.start()
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def restricted(keda, namespace, kubeconfig, prometheus):
    """A running operator at 9,600 W of 10,000: four replicas stay, and no more."""
    observer = PrometheusObserver(prometheus.url, SystemClock())
    async with capper(kubeconfig(), observer, namespace=namespace):
        await keda.create(capping(namespace, cap=10_000, **SPEC))
        await settled(keda, namespace, band="Restrict", bound=4)
        yield
    await observer.aclose()


async def settled(kube, namespace, *, bound, band=None, steady=False, **conditions):
    """Wait for a bound, a band, and what conditions say; a steady bound never is another."""

    async def look():
        status = await status_of(kube, namespace)
        held = {kind: condition(status, kind) for kind in conditions}
        said = {kind: one and one["status"] for kind, one in held.items()}
        is_there = await bound_of(kube, namespace) == bound
        assert is_there or not steady
        return is_there and band in {None, status.get("band")} and said == conditions

    await eventually(look, seconds=30)


def draw(boards, watts):
    for board in boards:
        board.draw(watts)


async def test_half_of_the_exporters_gone_is_no_headroom(
    keda, namespace, kubeconfig, prometheus, boards
):
    async with restricted(keda, namespace, kubeconfig, prometheus):
        for board in boards[: BOARDS // 2]:
            await board.stop()
        # Half of the boards draw half of the watts: believed, that would lift the bound.
        await settled(
            keda, namespace, bound=4, steady=True, CoverageLow="True", TelemetryStale="True"
        )
        for board in boards[: BOARDS // 2]:
            await board.start()
        await settled(
            keda, namespace, bound=4, steady=True, CoverageLow="False", TelemetryStale="False"
        )
        draw(boards, 500.0)
        await settled(keda, namespace, band="Normal", bound=9)


async def test_prometheus_gone_is_no_headroom_and_it_comes_back_alone(
    keda, namespace, kubeconfig, prometheus, boards
):
    async with restricted(keda, namespace, kubeconfig, prometheus):
        await prometheus.stop()
        draw(boards, 500.0)
        await settled(
            keda, namespace, bound=4, steady=True, TelemetryStale="True", MetricsValid="False"
        )
        await prometheus.start()
        await settled(
            keda, namespace, band="Normal", bound=9, TelemetryStale="False", MetricsValid="True"
        )
