"""The operator on an API server: one resource comes, acts, changes and goes without a trace."""

import asyncio

from kube_cluster import KubeError
from operator_harness import (
    BOUNDS,
    Plant,
    bound_of,
    capper,
    capping,
    condition,
    config_of,
    eventually,
    status_of,
)

from capper.actuators.reading import ORIGINAL
from capper.api import API_VERSION, KIND
from capper.kube.kinds import at
from capper.operator.handlers import FINALIZER


async def is_bounded(kube, namespace, replicas):
    async def look():
        return await bound_of(kube, namespace) == replicas

    await eventually(look)


async def is_gone(kube, namespace, name="cap"):
    async def look():
        try:
            await config_of(kube, namespace, name)
        except KubeError as error:
            return error.code == 404
        return False

    await eventually(look)


async def test_a_resource_acts_says_so_and_leaves_no_trace(keda, namespace, kubeconfig):
    before = (await keda.get("keda.sh/v1alpha1", "ScaledObject", namespace, "llm-scaler"))["spec"]
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        # 2,000 of 2,100 W: in Restrict nothing grows.
        await keda.create(capping(namespace, **BOUNDS))
        await is_bounded(keda, namespace, 4)

        async def told():
            status = await status_of(keda, namespace)
            return status if status.get("lastActions") else None

        status = await eventually(told)
        assert status["band"] == "Restrict"
        assert (status["observedWatts"], status["effectiveCapWatts"]) == (2000.0, 2100.0)
        assert condition(status, "Ready")["status"] == "True"
        assert condition(status, "Enforcing")["status"] == "True"
        (target,) = status["targets"]
        assert (target["currentReplicas"], target["maxReplicas"]) == (4, 4)
        assert target["originalMaxReplicas"] == 9
        assert status["originals"] == [
            {"target": f"ScaledObject/{namespace}/llm-scaler", "field": "maxReplicas", "value": "9"}
        ]
        found = await config_of(keda, namespace)
        assert FINALIZER in found["metadata"]["finalizers"]

        async def events():
            listed = await keda.list("v1", "Event", namespace)
            return [one for one in listed if one["reason"] == "SetMaxReplicas"]

        (event, *_) = await eventually(events)
        assert event["involvedObject"]["name"] == "cap"
        assert "bound 9 -> 4" in event["message"]

        await keda.delete(API_VERSION, KIND, namespace, "cap")
        await is_gone(keda, namespace)
    found = await keda.get("keda.sh/v1alpha1", "ScaledObject", namespace, "llm-scaler")
    assert found["spec"] == before
    assert at(found, ORIGINAL) is None


async def test_a_restart_takes_up_where_the_last_process_stopped(keda, namespace, kubeconfig):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await keda.create(capping(namespace, **BOUNDS))
        await is_bounded(keda, namespace, 4)
    assert await bound_of(keda, namespace) == 4, "a stopped capper leaves what is in force"
    async with capper(kubeconfig(), Plant(each=100.0), namespace=namespace, identity="b") as second:

        async def taken_up():
            report = second.loop.reports.get(f"{namespace}/cap")
            return report and report.state.targets

        (memory,) = (await eventually(taken_up)).values()
        assert (memory.touched, memory.original_max, memory.written_max) == (True, 9, 4)
        await keda.delete(API_VERSION, KIND, namespace, "cap")
        await is_gone(keda, namespace)
    assert await bound_of(keda, namespace) == 9


async def test_a_changed_spec_is_followed_and_an_invalid_one_is_not(keda, namespace, kubeconfig):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await keda.create(capping(namespace, cap=100_000, **BOUNDS))

        async def ready():
            return condition(await status_of(keda, namespace), "Ready")

        await eventually(ready)
        assert await bound_of(keda, namespace) == 9
        await keda.merge(API_VERSION, KIND, namespace, "cap", {"spec": {"powerCapLimit": 2100}})
        await is_bounded(keda, namespace, 4)
        # A tree without an end: CEL cannot see it, the models do.
        ring = [
            {"name": "a", "parent": "b", "capWatts": 5},
            {"name": "b", "parent": "a", "capWatts": 5},
        ]
        await keda.merge(API_VERSION, KIND, namespace, "cap", {"spec": {"domains": ring}})

        async def refused():
            found = condition(await status_of(keda, namespace), "Ready")
            return found if found["status"] == "False" else None

        found = await eventually(refused)
        assert found["reason"] == "Invalid"
        assert "spec.domains: each parent must be another domain" in found["message"]
        await asyncio.sleep(0.5)
        assert await bound_of(keda, namespace) == 4, "the last valid spec stays in force"


async def test_modes_that_do_not_act_do_not_and_enforce_is_left_without_a_trace(
    keda, namespace, kubeconfig
):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await keda.create(capping(namespace, mode="Recommend", **BOUNDS))

        async def recommended():
            actions = (await status_of(keda, namespace)).get("lastActions") or ()
            return [one for one in actions if one["outcome"] == "Recommended"]

        (action, *_) = await eventually(recommended)
        assert action["action"].endswith("bound 9 -> 4")
        assert await bound_of(keda, namespace) == 9
        await keda.merge(API_VERSION, KIND, namespace, "cap", {"spec": {"mode": "Enforce"}})
        await is_bounded(keda, namespace, 4)
        await keda.merge(API_VERSION, KIND, namespace, "cap", {"spec": {"mode": "Observe"}})
        await is_bounded(keda, namespace, 9)
