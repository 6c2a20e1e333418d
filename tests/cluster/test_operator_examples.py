"""The examples applied as they are: 80 %, 95 % and back on a real Prometheus; racks."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from operator_harness import (
    Plant,
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
from capper.decide.observation import DomainReading, Observation, PowerReading, Sample
from capper.observe.observer import PrometheusObserver
from telemetry.system_clock import SystemClock

EXAMPLES = Path(__file__).resolve().parents[2] / "k8s" / "examples"
EXAMPLE = EXAMPLES / "power-cap.yaml"
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
    jobs = {"dcgm": ((board.address,), {})}
    server = PrometheusServer(tmp_path, jobs, interval="500ms", timeout="500ms")
    await server.start()
    yield server
    await server.stop()


def example(namespace, url, **spec):
    """The file, at this Prometheus, and with a range that suits two scrapes in a second."""
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["metadata"]["namespace"] = namespace
    (metric,) = document["spec"]["metrics"]
    metric["prometheusAddress"] = url
    metric["query"] = metric["query"].replace("[1m]", "[5s]")
    document["spec"] |= spec
    return document


@pytest.fixture
async def cluster(kube, namespace):
    await install(kube, "keda")
    await kube.create(deployment(namespace, "llama-8b", replicas=4))
    await kube.create(scaled_object(namespace, "llama-8b-scaler", "llama-8b", maxReplicaCount=9))
    return kube


async def is_paused(kube, namespace, name="llama-8b-scaler"):
    found = await kube.get("keda.sh/v1alpha1", "ScaledObject", namespace, name)
    return found["metadata"].get("annotations", {}).get(PAUSED) == "true"


@pytest.mark.prometheus
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
        assert status["observedWatts"] == pytest.approx(8500.0, rel=0.05)
        assert condition(status, "Enforcing")["reason"] == "Observe"

        spec = {"mode": "Enforce", "replicaBounds": {"preferPausedScaleOut": pauses}}
        await cluster.merge(API_VERSION, KIND, namespace, "llm-power-cap", {"spec": spec})
        status = await settled("Watch", 5)
        (target,) = status["targets"]
        assert target["actuationTarget"] == f"ScaledObject/{namespace}/llama-8b-scaler"
        assert (target["currentReplicas"], target["maxReplicas"]) == (4, 5)
        assert target["reason"] == "Watch: at most one more than the present 4"

        board.draw(9600.0)  # a scrape that comes late makes it more, but not the cap
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


class Racks(Plant):
    """Two racks, each with its watts and its inlet; a target is in the rack of its name."""

    def __init__(self, placed):
        super().__init__()
        self.placed = placed
        self.inlets = {"rack-1": 20.0, "rack-2": 20.0}

    async def observe(self, config, policy, workloads):
        seen = await super().observe(config, policy, workloads)
        targets, drawn = {}, dict.fromkeys(self.inlets, 0.0)
        for ref, one in seen.targets.items():
            rack = self.placed[ref.split("/")[2]]
            drawn[rack] += one.watts
            targets[ref] = replace(one, domain_shares={rack: 1.0})
        total = sum(drawn.values())
        domains = {
            name: DomainReading(
                power=(PowerReading(samples=(Sample(watts, 0.0),)),),
                inlet_celsius=(Sample(self.inlets[name], 0.0),) if name in self.inlets else (),
            )
            for name, watts in {"fleet": total, "row-a": total, **drawn}.items()
        }
        return Observation(domains=domains, targets=targets)


async def test_the_example_of_racks_applies_and_a_warm_inlet_stops_growth_there_alone(
    kube, namespace, kubeconfig
):
    await install(kube, "keda", "kserve-minimal")
    for name in ("chat", "batch"):
        await kube.create(deployment(namespace, name))
        await kube.create(scaled_object(namespace, f"{name}-scaler", name, maxReplicaCount=9))
    await kube.create(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"namespace": namespace, "name": "embeddings"},
            "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 9}},
        }
    )
    await kube.create(deployment(namespace, "embeddings-predictor"))
    document = yaml.safe_load((EXAMPLES / "racks.yaml").read_text(encoding="utf-8"))
    document["metadata"]["namespace"] = namespace
    document["spec"]["safety"] = QUICK
    plant = Racks({"chat-scaler": "rack-1", "batch-scaler": "rack-2", "embeddings": "rack-2"})

    async def bounds(**wanted):
        async def are():
            found = {name: await bound_of(kube, namespace, f"{name}-scaler") for name in wanted}
            return found == wanted

        await eventually(are)

    async with capper(kubeconfig(), plant, namespace=namespace):
        await kube.create(document)

        async def ready():
            return condition(await status_of(kube, namespace, "row-a"), "Ready")

        assert (await eventually(ready))["status"] == "True"
        await bounds(chat=9, batch=9)
        plant.inlets["rack-1"] = 27.5
        await bounds(chat=4, batch=9)

        async def is_said():
            status = await status_of(kube, namespace, "row-a")
            hot = condition(status, "InletHot")
            return hot and hot["status"] == "True" and status

        status = await eventually(is_said)
        assert "rack-1: inlet at 27.5" in condition(status, "InletHot")["message"]
        bands = {one["name"]: one["band"] for one in status["domains"]}
        assert (bands["rack-1"], bands["rack-2"]) == ("Shed", "Normal")
        plant.inlets["rack-1"] = 20.0
        await bounds(chat=9, batch=9)
        service = await kube.get(
            "serving.kserve.io/v1beta1", "InferenceService", namespace, "embeddings"
        )
        assert service["spec"]["predictor"]["maxReplicas"] == 9
        await kube.delete(API_VERSION, KIND, namespace, "row-a")
