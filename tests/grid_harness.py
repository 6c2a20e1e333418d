"""A capping loop on the control plane of a test that reads Secrets, and its documents."""

import base64
from contextlib import asynccontextmanager

from kubernetes.aio.client import ApiClient
from operator_harness import PERIOD
from prometheus_client import CollectorRegistry

from capper.actuators.kubernetes import KubernetesWorkloads
from capper.kube.api import KubeApi
from capper.kube.secrets import ClusterSecrets
from capper.loop import CappingLoop, LoopSettings
from capper.metrics import CapperMetrics
from capper.operator.kube_journal import KubernetesJournal
from fleet.price import PriceHolder
from telemetry.kubernetes.client import load_configuration


@asynccontextmanager
async def grid_loop(path, plant, clock):
    """A loop with secrets and metrics, `loop.registry`; the test puts, turns and removes."""
    registry = CollectorRegistry()
    async with ApiClient(await load_configuration(str(path))) as client:
        api = KubeApi(client)
        loop = CappingLoop(
            workloads=KubernetesWorkloads(api),
            observer=plant,
            clock=clock,
            prices=PriceHolder(),
            journal=KubernetesJournal(api),
            settings=LoopSettings(period_seconds=PERIOD),
            secrets=ClusterSecrets(api, clock),
            listeners=(CapperMetrics(registry, clock).record,),
        )
        try:
            yield loop, registry
        finally:
            await loop.aclose()


def secret(namespace, name, **texts):
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "data": data,
    }


def metric(registry, name, **labels):
    """One sample of the only configuration; None where there is none."""
    found = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found[0] if found else None
