"""Racks, nodes and gated pods on the control plane of a test, and the webhook in a process."""

import asyncio
import base64
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from kubernetes.aio.client import ApiClient
from operator_harness import capping, eventually
from prometheus_client import CollectorRegistry

from capper.actuators.kubernetes import KubernetesWorkloads
from capper.decide.observation import DomainReading, Observation, PowerReading, Sample
from capper.kube.api import KubeApi
from capper.loop import CappingLoop
from capper.operator.kube_journal import KubernetesJournal
from capper.racks.keeper import LoopView, RackKeeper
from capper.racks.marks import GATE, OPT_IN_LABEL
from capper.racks.metrics import RackMetrics
from fleet.price import PriceHolder
from router.extproc.tls import self_signed
from telemetry.kubernetes.client import load_configuration
from telemetry.promql import PrometheusSettings
from telemetry.system_clock import SystemClock

HEADRACE = Path(sys.executable).parent / "headrace"
RACK = "topology.headrace.dev/rack"


def node(name, rack=None, **labels):
    given = {**labels, **({RACK: rack} if rack else {})}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": given}}


def pod(namespace, name, *, gated=True, owner=None, annotations=None, labels=None, **spec):
    gates = {"schedulingGates": [{"name": GATE}]} if gated else {}
    metadata = {"namespace": namespace, "name": name, "annotations": annotations or {}}
    metadata["labels"] = dict(labels or {})
    if owner is not None:
        metadata["labels"]["pod-template-hash"] = "abc12"
        metadata["ownerReferences"] = [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": f"{owner}-abc12",
                "uid": "0",
                "controller": True,
            }
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "vllm", "image": "vllm"}], **gates, **spec},
    }


async def get_pod(kube, namespace, name):
    return await kube.get("v1", "Pod", namespace, name)


def gates_of(found):
    return [gate["name"] for gate in found["spec"].get("schedulingGates", ())]


async def events_of(kube, namespace, name):
    """(reason, message) of the events about a pod."""
    found = await kube.list("v1", "Event", namespace)
    return [
        (one["reason"], one["message"]) for one in found if one["involvedObject"]["name"] == name
    ]


async def told_of(kube, namespace, name, reason):
    """The message of an event about a pod; it comes after what it tells of."""

    async def look():
        return dict(await events_of(kube, namespace, name)).get(reason)

    return await eventually(look)


@contextlib.contextmanager
def certificate(folder):
    """A folder with a pair for loopback; gives the CA bundle as the API server wants it."""
    key, chain = self_signed(epoch_seconds=SystemClock().epoch_seconds())
    (folder / "tls.key").write_bytes(key)
    (folder / "tls.crt").write_bytes(chain)
    yield base64.b64encode(chain).decode()


@contextlib.asynccontextmanager
async def webhook_process(folder, *options):
    """`headrace webhook`; gives its port."""
    ready = folder / "ready.json"
    process = await asyncio.create_subprocess_exec(
        HEADRACE, "webhook", f"--cert-dir={folder}", "--port=0", f"--ready-file={ready}", *options,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(400):
            if ready.exists() and ready.read_text():
                break
            assert process.returncode is None
            await asyncio.sleep(0.05)
        yield json.loads(ready.read_text())["port"]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def registration(name, bundle, url, namespace):
    """The shipped registration, led to a loopback address and to one namespace."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "rack.powercapping.climatik-project.ai",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "timeoutSeconds": 2,
                "clientConfig": {"url": url, "caBundle": bundle},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "Namespaced",
                    }
                ],
                "namespaceSelector": {
                    "matchLabels": {
                        OPT_IN_LABEL: "enabled",
                        "kubernetes.io/metadata.name": namespace,
                    }
                },
                "objectSelector": {
                    "matchExpressions": [
                        {"key": OPT_IN_LABEL, "operator": "NotIn", "values": ["disabled"]}
                    ]
                },
            }
        ],
    }


class RackPlant:
    """Measures racks as a test says: watts and inlets by rack, the whole as their sum."""

    def __init__(self, watts, inlets=None, *, each=1000.0):
        self.watts = dict(watts)
        self.inlets = dict(inlets or {})
        self.each = each
        self.whole = None
        self.problems = {}

    async def observe(self, _config, _policy, workloads):
        await asyncio.sleep(0)
        domains = {
            rack: DomainReading(
                power=(PowerReading(samples=(Sample(watts, 0.0),)),),
                inlet_celsius=(Sample(self.inlets[rack], 0.0),) if rack in self.inlets else (),
            )
            for rack, watts in self.watts.items()
        }
        total = sum(self.watts.values()) if self.whole is None else self.whole
        whole = PowerReading(samples=(Sample(total, 0.0),))
        domains["fleet"] = DomainReading(power=(whole,))
        targets = {
            ref: replace(one.reading, watts=self.each, replica_watts_p95=self.each)
            for ref, one in workloads.items()
        }
        return Observation(domains=domains, targets=targets)


def racks_of_test(prometheus_url=""):
    """For ClusterCapper: who places pods."""
    clock = SystemClock()

    def make(client, loop):
        return RackKeeper(
            client,
            LoopView(entries=loop.entries, reports=lambda: loop.reports),
            clock=clock,
            prometheus=PrometheusSettings(url=prometheus_url),
            metrics=RackMetrics(CollectorRegistry()),
        )

    return make


def rack_config(namespace, racks, *, placement=None, cap=50_000, **spec):
    """A configuration that enforces `racks`: name -> (watts, inlet limit or None)."""
    constraints = [
        {"rackId": name, "maxPower": watts, **({"maxTemperature": heat} if heat else {})}
        for name, (watts, heat) in racks.items()
    ]
    return capping(
        namespace,
        cap=cap,
        refs=[{"kind": "Deployment", "metadata": {"name": "llm"}}],
        rackConstraints=constraints,
        placement={"policy": "headroom", **(placement or {})},
        replicaBounds={"enabled": False},
        price={"enabled": False},
        **spec,
    )


@contextlib.asynccontextmanager
async def kept_racks(path, plant, clock, *, prometheus_url=""):
    """(loop, keeper) without kopf and lease: the test turns both."""
    async with ApiClient(await load_configuration(str(path))) as client:
        api = KubeApi(client)
        loop = CappingLoop(
            workloads=KubernetesWorkloads(api),
            observer=plant,
            clock=clock,
            prices=PriceHolder(),
            journal=KubernetesJournal(api),
        )
        keeper = RackKeeper(
            client,
            LoopView(entries=loop.entries, reports=lambda: loop.reports),
            clock=clock,
            prometheus=PrometheusSettings(url=prometheus_url),
            metrics=RackMetrics(CollectorRegistry()),
        )
        loop.companion = keeper
        try:
            yield loop, keeper
        finally:
            await keeper.aclose()


async def known(loop, keeper, name, look):
    """Turn the keeper until it has seen what the test asks for of its racks."""

    async def turned():
        await keeper.turn()
        racks = loop.entries()[name].racks
        return racks is not None and racks.racks and look(racks)

    return await eventually(turned)


def on_node(found, node_name):
    """The pod as it runs on a node."""
    found["spec"]["nodeName"] = node_name
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {**found, "status": {"phase": "Running", "conditions": [ready]}}


def annotations_of(found):
    return found["metadata"].get("annotations") or {}
