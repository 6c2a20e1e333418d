"""A whole capper on the control plane of a test: its own plant measures, the test plays KEDA."""

import asyncio
import contextlib
import copy
import json
import uuid
from dataclasses import replace

from kubernetes.aio.client import ApiClient

from capper.actuators.kubernetes import KubernetesWorkloads
from capper.advisors import Advisors
from capper.api import API_VERSION, KIND
from capper.api.schema import custom_resource_definition
from capper.decide.observation import DomainReading, Observation, PowerReading, Sample
from capper.external_scaler.allowances import AllowanceHolder
from capper.kube.api import KubeApi
from capper.loop import CappingLoop, LoopSettings
from capper.operator.cluster import ClusterCapper, ClusterSettings
from capper.operator.handlers import FINALIZER
from capper.operator.kube_journal import KubernetesJournal
from capper.operator.leader import LeaseSettings
from capper.smoothing.watch import HistoryAccess, SmoothingWatch
from capper.vertical.reading import VerticalReader
from capper.vertical.watch import VerticalWatch
from fleet.price import PriceHolder
from telemetry.kubernetes.client import load_configuration
from telemetry.system_clock import SystemClock

PERIOD = 0.1


class Plant:
    """Measures as the hardware would: so many watts a replica, for those that the cluster has."""

    def __init__(self, *, each=500.0, other=0.0):
        self.each = each
        self.other = other
        self.blind = False
        self.problems = {}

    async def observe(self, _config, _policy, workloads):
        await asyncio.sleep(0)
        if self.blind:
            return Observation()
        targets = {
            ref: replace(
                one.reading,
                watts=self.each * (one.reading.current_replicas or 0),
                replica_watts_p95=self.each,
            )
            for ref, one in workloads.items()
        }
        watts = self.other + sum(one.watts for one in targets.values())
        reading = DomainReading(power=(PowerReading(samples=(Sample(watts, 0.0),)),))
        return Observation(domains={"fleet": reading}, targets=targets)


def scaled_object(namespace, name="llm-scaler", target="llm", **spec):
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "scaleTargetRef": {"name": target},
            "triggers": [{"type": "cron", "metadata": {"desiredReplicas": "3"}}],
            **spec,
        },
    }


def deployment(namespace, name="llm", replicas=4, labels=None):
    labels = labels or {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "vllm", "image": "vllm"}]},
            },
        },
    }


def capping(namespace, name="cap", *, cap=2100, refs=("llm-scaler",), **spec):
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "powerCapLimit": cap,
            "mode": "Enforce",
            "scaleObjectRef": [
                one if isinstance(one, dict) else {"metadata": {"name": one}} for one in refs
            ],
            "metrics": [{"query": "watts"}],
            **spec,
        },
    }


# No pauses, and bounds at once: what a test asks for is a number.
BOUNDS = {"replicaBounds": {"preferPausedScaleOut": False}, "price": {"enabled": False}}


def advisers(api, journal, clock):
    """Who reads history and VerticalPodAutoscalers; the Prometheus is the configuration's own."""
    return Advisors(
        journal,
        clock,
        smoothing=SmoothingWatch(HistoryAccess(), clock),
        vertical=VerticalWatch(VerticalReader(api), clock),
    )


@contextlib.asynccontextmanager
async def capper(path, plant, *, namespace, identity="a", allowances=None, **settings):
    """A running ClusterCapper through a kubeconfig file."""
    prices, allowances, clock = PriceHolder(), allowances or AllowanceHolder(), SystemClock()

    def make_loop(api, journal):
        loop = CappingLoop(
            workloads=KubernetesWorkloads(api),
            observer=plant,
            clock=clock,
            prices=prices,
            journal=journal,
            allowances=allowances,
            settings=LoopSettings(period_seconds=PERIOD, status_seconds=0.5),
        )
        loop.adviser = advisers(api, journal, clock)
        return loop

    lease = LeaseSettings(
        namespace=namespace,
        identity=identity,
        duration_seconds=3.0,
        deadline_seconds=2.0,
        retry_seconds=0.2,
    )
    running = ClusterCapper(
        ClusterSettings(
            kubeconfig=str(path),
            namespaces=(namespace,),
            lease=lease,
            period_seconds=PERIOD,
            board_seconds=3.0,
        ),
        clock,
        make_loop,
        prices=prices,
        allowances=allowances,
        **settings,
    )
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
        await running.loop.adviser.aclose()


@contextlib.asynccontextmanager
async def direct_loop(path, plant, *, clock=None, **settings):
    """A loop without kopf and lease: the test puts, turns and removes."""
    async with ApiClient(await load_configuration(str(path))) as client:
        api = KubeApi(client)
        clock, journal = clock or SystemClock(), KubernetesJournal(api)
        loop = CappingLoop(
            workloads=KubernetesWorkloads(api),
            observer=plant,
            clock=clock,
            prices=PriceHolder(),
            journal=journal,
            settings=LoopSettings(period_seconds=PERIOD),
            **settings,
        )
        loop.adviser = advisers(api, journal, clock)
        try:
            yield loop
        finally:
            await loop.adviser.aclose()


async def install(kube, *folders):
    await kube.install_crd(custom_resource_definition())
    await kube.install_crds(*folders)


async def eventually(look, *, seconds=20.0):
    """The first true answer; an AssertionError with the last one when none comes."""
    last = None
    for _ in range(int(seconds / 0.05)):
        last = await look()
        if last:
            return last
        await asyncio.sleep(0.05)
    raise AssertionError(f"it never came; the last was {last!r}")


async def bound_of(kube, namespace, name="llm-scaler"):
    found = await kube.get("keda.sh/v1alpha1", "ScaledObject", namespace, name)
    return found["spec"].get("maxReplicaCount")


async def config_of(kube, namespace, name="cap"):
    return await kube.get(API_VERSION, KIND, namespace, name)


async def status_of(kube, namespace, name="cap"):
    return (await config_of(kube, namespace, name)).get("status") or {}


def condition(status, kind):
    found = [one for one in status.get("conditions", ()) if one["type"] == kind]
    return found[0] if found else None


def changed(document, **spec):
    document = copy.deepcopy(document)
    document["spec"].update(spec)
    return document


def remembered_state(status):
    return json.loads(status["state"])


def unique(name):
    return f"{name}-{uuid.uuid4().hex[:6]}"


async def stored(kube, document):
    """The resource as the loop gets it: guarded, and with what the server fills in."""
    document["metadata"]["finalizers"] = [FINALIZER]
    return await kube.create(document)


async def again(kube, document):
    """The resource as it is now."""
    metadata = document["metadata"]
    return await config_of(kube, metadata["namespace"], metadata["name"])


async def killed_in_a_turn(loop, steps):
    """Cancel a turn after a number of short waits; whether it had ended before."""
    turn = asyncio.create_task(loop.turn())
    for _ in range(steps):
        await asyncio.sleep(0.002)
        if turn.done():
            break
    finished = turn.done()
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    return finished
