"""What users get wrong, through the whole operator: it is said, it harms nothing, others go on."""

import contextlib

import pytest
from kube_cluster import KubeError
from operator_harness import (
    BOUNDS,
    Plant,
    bound_of,
    capper,
    capping,
    condition,
    config_of,
    deployment,
    eventually,
    install,
    scaled_object,
    status_of,
)
from telemetry_harness import PrometheusServer

from capper.api import API_VERSION, KIND
from capper.observe.observer import PrometheusObserver
from telemetry.system_clock import SystemClock

RING = [
    {"name": "a", "parent": "b", "capWatts": 5},
    {"name": "b", "parent": "a", "capWatts": 5},
]
QUERIES = {
    "vector": (
        'vector(9) or label_replace(vector(9), "a", "b", "", "")',
        "gives 2 series and must give one number",
    ),
    "nothing": ("no_such_metric", "gives nothing now; nothing is not 0 W"),
    "nan": ("vector(NaN)", "gives nan, which is no number of watts"),
    "text": ('"ten"', "gives text and must give one number"),
    "typo": ("sum(", "was refused"),
}


async def workload(kube, namespace, name, *, replicas=4, least=0):
    await kube.create(deployment(namespace, name, replicas=replicas))
    await kube.create(
        scaled_object(namespace, f"{name}-scaler", name, minReplicaCount=least, maxReplicaCount=9)
    )


@pytest.fixture
async def keda(kube, namespace):
    await install(kube, "keda")
    await workload(kube, namespace, "good")
    return kube


def of(namespace, name, **spec):
    return capping(namespace, name, refs=(f"{name}-scaler",), **{**BOUNDS, **spec})


async def is_bounded(kube, namespace, name, replicas):
    async def look():
        return await bound_of(kube, namespace, f"{name}-scaler") == replicas

    await eventually(look)


async def holds(kube, namespace, name, kind, status, said=""):
    async def look():
        found = condition(await status_of(kube, namespace, name), kind)
        return found and found["status"] == status and said in found["message"] and found

    return await eventually(look)


@pytest.mark.prometheus
async def test_queries_that_give_no_number(keda, namespace, kubeconfig, tmp_path):
    prometheus = PrometheusServer(tmp_path, {})
    await prometheus.start()
    observer = PrometheusObserver(prometheus.url, SystemClock())
    try:
        for name, (query, _) in QUERIES.items():
            await workload(keda, namespace, name)
            await keda.create(of(namespace, name, metrics=[{"query": query}]))
        async with capper(kubeconfig(), observer, namespace=namespace):
            await keda.create(of(namespace, "good", metrics=[{"query": "vector(2000)"}]))
            await is_bounded(keda, namespace, "good", 4)
            for name, (_, said) in QUERIES.items():
                await holds(keda, namespace, name, "MetricsValid", "False", said)
                await holds(keda, namespace, name, "TelemetryStale", "True")
                assert "observedWatts" not in await status_of(keda, namespace, name)
                assert await bound_of(keda, namespace, f"{name}-scaler") == 9, "no cap, no cut"
            # Each is made good by a better query alone.
            better = {"spec": {"metrics": [{"query": "2000"}]}}
            for name in QUERIES:
                await keda.merge(API_VERSION, KIND, namespace, name, better)
            for name in QUERIES:
                await is_bounded(keda, namespace, name, 4)
                await holds(keda, namespace, name, "MetricsValid", "True")
    finally:
        await observer.aclose()
        await prometheus.stop()


async def test_one_that_was_never_valid_says_so_is_corrected_and_can_go(
    keda, namespace, kubeconfig
):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        for name in ("bad", "worse"):
            await workload(keda, namespace, name)
            await keda.create(of(namespace, name, domains=RING))
        await keda.create(of(namespace, "good"))
        await is_bounded(keda, namespace, "good", 4)
        for name in ("bad", "worse"):
            found = await holds(
                keda, namespace, name, "Ready", "False", "spec.domains: each parent must be"
            )
            assert found["reason"] == "Invalid"
            assert await bound_of(keda, namespace, f"{name}-scaler") == 9
        await keda.merge(API_VERSION, KIND, namespace, "bad", {"spec": {"domains": []}})
        await is_bounded(keda, namespace, "bad", 4)
        await holds(keda, namespace, "bad", "Ready", "True")
        await keda.delete(API_VERSION, KIND, namespace, "worse")

        async def is_gone():
            with contextlib.suppress(KubeError):
                await config_of(keda, namespace, "worse")
                return False
            return True

        await eventually(is_gone)


async def test_a_ref_to_nothing_is_said_until_it_is_there(keda, namespace, kubeconfig):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await keda.create(of(namespace, "late"))
        await keda.create(of(namespace, "good"))
        await is_bounded(keda, namespace, "good", 4)
        found = await holds(keda, namespace, "late", "Ready", "False", "late-scaler")
        assert found["reason"] == "TargetNotFound"
        await workload(keda, namespace, "late")
        await is_bounded(keda, namespace, "late", 4)
        await holds(keda, namespace, "late", "Ready", "True")


async def test_of_two_on_one_target_the_lowest_wins_and_both_say_so(keda, namespace, kubeconfig):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        for name, cap in (("high", 2900), ("low", 2100)):
            await keda.create(capping(namespace, name, cap=cap, refs=("good-scaler",), **BOUNDS))
        await is_bounded(keda, namespace, "good", 4)
        for name, other in (("high", "low"), ("low", "high")):
            await holds(keda, namespace, name, "Overlap", "True", f"{namespace}/{other}")
        await keda.delete(API_VERSION, KIND, namespace, "low")
        await holds(keda, namespace, "high", "Overlap", "False")
        assert await bound_of(keda, namespace, "good-scaler") in {4, 5}, "the other still caps it"


@pytest.mark.parametrize(("least", "stay"), [(2, 2), (0, 1)])
async def test_a_cap_below_idle_power_takes_all_that_may_go_and_says_that_it_cannot_be_kept(
    keda, namespace, kubeconfig, least, stay
):
    """The test plays the autoscaler: replicas follow the bound, of which 1 is the lowest."""
    await workload(keda, namespace, "idle", least=least)
    ref = {"metadata": {"name": "idle-scaler"}, "minReplicas": 0}
    seen = []

    async def follow():
        bound = await bound_of(keda, namespace, "idle-scaler")
        found = await keda.get("apps/v1", "Deployment", namespace, "idle")
        replicas = min(bound, found["spec"]["replicas"])
        seen.append(bound)
        if replicas != found["spec"]["replicas"]:
            await keda.merge(
                "apps/v1", "Deployment", namespace, "idle", {"spec": {"replicas": replicas}}
            )
        held = condition(await status_of(keda, namespace, "idle"), "CapUnreachable")
        return replicas == stay and held and held["status"] == "True"

    async with capper(kubeconfig(), Plant(each=500.0), namespace=namespace):
        safety = {"shedIntervalSeconds": 0.2, "escalateAfterSeconds": 0}
        idle = of(namespace, "idle", cap=50, safety=safety, brake={"enabled": False})
        idle["spec"]["scaleObjectRef"] = [ref]
        await keda.create(idle)
        await keda.create(of(namespace, "good"))
        await eventually(follow)
        await is_bounded(keda, namespace, "good", 4)
        assert min(seen) == stay
        assert sorted(seen, reverse=True) == seen, "down one by one, never up"
        assert await bound_of(keda, namespace, "idle-scaler") == stay
        actions = (await status_of(keda, namespace, "idle"))["lastActions"]
        assert {one["outcome"] for one in actions} == {"Applied"}
