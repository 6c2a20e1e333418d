"""Emergency eviction on an API server: late, one at a time, as disruption budgets allow."""

import itertools

import pytest
from kube_objects import ready_pod
from operator_harness import (
    BOUNDS,
    Plant,
    capping,
    condition,
    deployment,
    direct_loop,
    install,
    scaled_object,
    status_of,
    stored,
)
from telemetry_harness import ManualClock

from capper.decide.plan import EvictReplica
from capper.operator.report import Outcome

AFTER_SECONDS = 60.0
STEP_SECONDS = 10.0
ASKED = {
    **BOUNDS,
    "replicaBounds": {"preferPausedScaleOut": False, "evictAfterSeconds": AFTER_SECONDS},
    "safety": {"shedIntervalSeconds": 30},
    "brake": {"enabled": False},
}


async def budget(kube, namespace, *, wanted, allowed):
    labels = {"app": "llm"}
    found = await kube.create(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"namespace": namespace, "name": "llm"},
            "spec": {"minAvailable": wanted, "selector": {"matchLabels": labels}},
        }
    )
    counts = {"desiredHealthy": wanted, "currentHealthy": 4, "expectedPods": 4}
    status = {"disruptionsAllowed": allowed, "observedGeneration": 1, **counts}
    await kube.set_status({**found, "status": status})


@pytest.fixture
async def keda(kube, namespace):
    """Four ready replicas, and nobody who follows the bound."""
    await install(kube, "keda")
    made = await kube.create(deployment(namespace, replicas=4))
    await kube.set_status({**made, "status": {"replicas": 4, "readyReplicas": 4}})
    await kube.create(scaled_object(namespace, minReplicaCount=1, maxReplicaCount=9))
    for number in range(4):
        await kube.add_pod(
            ready_pod(namespace, f"p{number}", f"10.0.0.{number}", labels={"app": "llm"})
        )
    return kube


async def pods_of(kube, namespace):
    return [one["metadata"]["name"] for one in await kube.list("v1", "Pod", namespace)]


async def turned(loop, clock, seconds):
    """Results of the evictions in so many seconds of turns, with their times."""
    found, since = [], clock.monotonic
    while clock.monotonic < since + seconds:
        clock.advance(STEP_SECONDS)
        (report,) = await loop.turn()
        found += [
            (clock.monotonic - since, one)
            for one in report.results
            if isinstance(one.action, EvictReplica)
        ]
    return found


async def test_over_the_cap_for_long_one_replica_is_evicted_and_its_budget_is_asked(
    keda, namespace, kubeconfig
):
    await budget(keda, namespace, wanted=2, allowed=1)
    clock = ManualClock()
    document = await stored(keda, capping(namespace, cap=600, **ASKED))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        assert await turned(loop, clock, AFTER_SECONDS - STEP_SECONDS) == []
        assert len(await pods_of(keda, namespace)) == 4
        found = await turned(loop, clock, 120.0)
        assert [one.outcome for _, one in found if one.outcome is Outcome.APPLIED] == [
            Outcome.APPLIED
        ], "the budget allowed one"
        assert len(await pods_of(keda, namespace)) == 3
        refused = {one.sentence for _, one in found if one.outcome is Outcome.REFUSED}
        assert any("disruption budget" in one for one in refused), refused
        status = await status_of(keda, namespace)
        said = [one for one in status["lastActions"] if "evicted" in one["action"]]
        assert {one["outcome"] for one in said} == {"Applied", "Refused"}
        assert condition(status, "CapExceeded")["status"] == "True"


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"replicaBounds": BOUNDS["replicaBounds"]}, 2),
        ({}, 4),
        ({"scaleObjectRef": [{"metadata": {"name": "llm-scaler"}, "minReplicas": 4}]}, 1),
        ({"mode": "Observe"}, 1),
    ],
    ids=["not asked for", "the budget needs all", "the floor", "observing"],
)
async def test_nothing_is_evicted_where_nothing_may_go(keda, namespace, kubeconfig, spec, wanted):
    await budget(keda, namespace, wanted=wanted, allowed=4 - wanted)
    clock = ManualClock()
    document = await stored(keda, capping(namespace, cap=600, **{**ASKED, **spec}))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        assert await turned(loop, clock, 200.0) == []
        assert len(await pods_of(keda, namespace)) == 4


async def test_without_a_budget_the_workloads_own_minimum_stays(keda, namespace, kubeconfig):
    """Replicas are those that are ready now, also where the counts of the owner lag behind."""
    clock = ManualClock()
    document = await stored(keda, capping(namespace, cap=600, **ASKED))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        found = await turned(loop, clock, 400.0)
        times = [at for at, one in found if one.outcome is Outcome.APPLIED]
        assert len(times) == 3
        assert all(later - earlier >= 30.0 for earlier, later in itertools.pairwise(times))
        assert len(await pods_of(keda, namespace)) == 1
