"""A Kubernetes fleet source under test, with all that it has published."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

from prometheus_client import CollectorRegistry

from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind
from telemetry.kubernetes.source import KubernetesFleetSource
from telemetry.system_clock import SystemClock

QUICK = {
    "backoff_seconds": 0.05,
    "backoff_limit_seconds": 0.3,
    "models_interval_seconds": 0.3,
    "models_retry_seconds": 0.1,
    "start_timeout_seconds": 30.0,
}


def pool_settings(kubeconfig, namespace, *names, **changes):
    targets = tuple(
        Target(kind=TargetKind.INFERENCE_POOL, namespace=namespace, name=name)
        for name in names or ("pool",)
    )
    return settings_for(kubeconfig, *targets, **changes)


def settings_for(kubeconfig, *targets, **changes):
    return KubernetesSettings(targets=targets, kubeconfig=str(kubeconfig), **{**QUICK, **changes})


async def until(condition, *, seconds=20.0):
    """Wait for what the API server and the source do in their own time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def discovering(settings):
    """A started source; `addresses()` and `state()` look at the newest."""
    registry, clock, views = CollectorRegistry(), SystemClock(), []
    source = KubernetesFleetSource(settings, clock, registry)
    views.append(await source.start(views.append))

    def metric(name, **labels):
        wanted = {"source": "kubernetes", **labels}
        return registry.get_sample_value(f"headrace_discovery_{name}", wanted)

    try:
        yield SimpleNamespace(
            source=source,
            views=views,
            view=lambda: views[-1],
            addresses=lambda: {replica.address for replica in views[-1].fleet.replicas()},
            state=lambda: source.state(now_seconds=clock.monotonic_seconds()),
            metric=metric,
        )
    finally:
        await source.stop()
