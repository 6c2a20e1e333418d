"""The original design's example applied as it is, on a real Prometheus: 80 %, 95 %, and back."""

from pathlib import Path

import pytest
import yaml
from operator_harness import (
    bound_of,
    capper,
    condition,
    deployment,
    eventually,
    install,
    scaled_object,
    status_of,
)
from power_board import Board
from telemetry_harness import PrometheusServer

from capper.api import API_VERSION, KIND
from capper.observe.observer import PrometheusObserver
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.prometheus

EXAMPLE = Path(__file__).resolve().parents[2] / "k8s" / "examples" / "power-cap.yaml"
PAUSED = "autoscaling.keda.sh/paused-scale-out"
# A user's cluster would wait for five minutes at each way down; a test does not.
QUICK = {
    "dwellSeconds": 1,
    "leaveSamples": 1,
    "growIntervalSeconds": 0.2,
}


@pytest.fixture
async def board():
    board = Board(8500.0)
    await board.start()
    yield board
    await board.stop()


@pytest.fixture
async def prometheus(tmp_path, board):
    server = PrometheusServer(tmp_path, {"dcgm": ((board.address,), {})})
    await server.start()
    yield server
    await server.stop()


def example(namespace, url, **spec):
    """The file, at this Prometheus, and with a range that suits five scrapes in a second."""
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["metadata"]["namespace"] = namespace
    (metric,) = document["spec"]["metrics"]
    metric["prometheusAddress"] = url
    metric["query"] = metric["query"].replace("[1m]", "[2s]")
    document["spec"] |= spec
    return document


@pytest.fixture
async def cluster(kube, namespace):
    await install(kube, "keda")
    await kube.create(deployment(namespace, "llama-8b", replicas=4))
    await kube.create(scaled_object(namespace, "llama-8b-scaler", "llama-8b", maxReplicaCount=9))
    return kube


async def is_paused(kube, namespace):
    found = await kube.get("keda.sh/v1alpha1", "ScaledObject", namespace, "llama-8b-scaler")
    return found["metadata"].get("annotations", {}).get(PAUSED) == "true"


@pytest.mark.parametrize("pauses", [False, True])
async def test_the_example_applies_and_acts(
    cluster, namespace, kubeconfig, prometheus, board, pauses
):
    async def settled(band, bound, *, paused=False):
        async def is_settled():
            status = await status_of(cluster, namespace, "llm-power-cap")
            reached = (
                status.get("band"),
                await bound_of(cluster, namespace, "llama-8b-scaler"),
                await is_paused(cluster, namespace),
            )
            return status if reached == (band, bound, paused) else None

        return await eventually(is_settled)

    observer = PrometheusObserver(None, SystemClock())
    async with capper(kubeconfig(), observer, namespace=namespace):
        # As the design has it, first: it observes, says what it would do, and writes nothing.
        await cluster.create(example(namespace, prometheus.url, safety=QUICK))
        status = await settled("Watch", 9)
        assert status["observedWatts"] == pytest.approx(8500.0, rel=0.03)
        assert condition(status, "Enforcing")["reason"] == "Observe"

        spec = {"mode": "Enforce", "replicaBounds": {"preferPausedScaleOut": pauses}}
        await cluster.merge(API_VERSION, KIND, namespace, "llm-power-cap", {"spec": spec})
        status = await settled("Watch", 5)
        (target,) = status["targets"]
        assert target["actuationTarget"] == f"ScaledObject/{namespace}/llama-8b-scaler"
        assert (target["currentReplicas"], target["maxReplicas"]) == (4, 5)
        assert target["reason"] == "Watch: at most one more than the present 4"

        board.draw(9700.0)
        status = await settled("Restrict", *((5,) if pauses else (4,)), paused=pauses)
        (target,) = status["targets"]
        assert target["reason"] == "Restrict: no growth beyond the present 4"

        board.draw(3500.0)
        await settled("Normal", 9)

        async def told():
            listed = await cluster.list("v1", "Event", namespace)
            said = [one["message"] for one in listed if one["reason"] != "SetPrice"]
            restored = any("bound put back" in one for one in said)
            return said if restored else None

        said = await eventually(told)
        assert any("bound 9 -> 5: Watch" in one for one in said)
        stopped = "scale-out paused" if pauses else "bound 5 -> 4"
        assert any(stopped in one for one in said), said
        await cluster.delete(API_VERSION, KIND, namespace, "llm-power-cap")
    await observer.aclose()
