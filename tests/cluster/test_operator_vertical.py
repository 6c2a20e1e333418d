"""VerticalPodAutoscalers, with their own CRD, in a running capper on an API server."""

import pytest
from kube_objects import node, ready_pod
from operator_harness import (
    BOUNDS,
    Plant,
    capper,
    capping,
    condition,
    deployment,
    direct_loop,
    eventually,
    install,
    scaled_object,
    status_of,
    stored,
    unique,
)
from telemetry_harness import ManualClock

from capper.advice_metrics import advice_families
from capper.operator.permissions import rules

VPA = "autoscaling.k8s.io/v1"
GPU = "nvidia.com/gpu"
GIB = 1024.0**3


def vpa(namespace, *, name="llm-vpa", mode="Initial", policies=(), resources=("cpu", "memory")):
    policy = {"containerName": "*", "controlledResources": list(resources)}
    return {
        "apiVersion": VPA,
        "kind": "VerticalPodAutoscaler",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
            "updatePolicy": {"updateMode": mode},
            "resourcePolicy": {"containerPolicies": [*policies] or [policy]},
        },
    }


def recommending(obj, **target):
    told = [{"containerName": "vllm", "target": target}]
    return {**obj, "status": {"recommendation": {"containerRecommendations": told}}}


def asking(obj, requests, limits):
    """A Deployment whose container asks for something."""
    [container] = obj["spec"]["template"]["spec"]["containers"]
    container["resources"] = {"requests": requests, "limits": limits}
    return obj


def pod_of(namespace, name, ip, where, requests, limits):
    pod = ready_pod(namespace, name, ip, labels={"app": "llm"}, node=where)
    [container] = pod["spec"]["containers"]
    container["resources"] = {"requests": requests, "limits": limits}
    return pod


@pytest.fixture
async def cluster(kube, namespace):
    """A ScaledObject over a Deployment whose replicas ask for 8 cores, 64 GiB and 4 GPUs."""
    await install(kube, "keda", "vpa")
    requests, limits = {"cpu": "8", "memory": "64Gi"}, {GPU: "4"}
    await kube.create(asking(deployment(namespace, replicas=2), requests, limits))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    for number in range(2):
        pod = pod_of(namespace, f"llm-{number}", f"10.0.0.{number}", None, requests, limits)
        await kube.add_pod(pod)
    return kube


async def looked_at(loop, document):
    """Two turns with the reading between them."""
    await loop.put(document)
    await loop.turn()
    await loop.adviser.settled()
    [report] = await loop.turn()
    return report


async def test_the_next_replica_is_reserved_with_what_its_recommendation_adds(
    cluster, namespace, kubeconfig
):
    made = vpa(namespace)
    await cluster.create(made)
    await cluster.set_status(recommending(made, cpu="28", memory="164Gi"))
    vertical = {"enabled": True, "cpuCoreWatts": 5, "memoryGibibyteWatts": 0.4}
    document = await stored(cluster, capping(namespace, cap=9000, vertical=vertical, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(each=500.0)) as loop:
        report = await looked_at(loop, document)
        [reading] = report.observation.targets.values()
        assert reading.next_extra_watts == pytest.approx(20 * 5.0 + 100 * 0.4)
        *_, shown = advice_families(loop.reports)
        [sample] = shown.samples
        assert sample.value == reading.next_extra_watts
        status = await status_of(cluster, namespace)
    [found] = status["vertical"]
    assert found == {
        "target": f"ScaledObject/{namespace}/llm-scaler",
        "autoscaler": "llm-vpa",
        "updateMode": "Initial",
        "cpuCores": 28.0,
        "memoryBytes": 164 * GIB,
        "extraWatts": pytest.approx(140.0),
    }
    assert condition(status, "AutoscalerConflict") is None


@pytest.mark.parametrize(
    ("cap", "enabled", "bound"), [(1750, False, 3), (1750, True, 2), (1830, True, 3)]
)
async def test_projected_admission_uses_those_watts(
    cluster, namespace, kubeconfig, cap, enabled, bound
):
    made = vpa(namespace)
    await cluster.create(made)
    await cluster.set_status(recommending(made, cpu="28", memory="64Gi"))
    # 1000 W now; a third replica draws 500 + 100 W, and 12 % of the cap are kept for spikes.
    vertical = {"enabled": enabled, "cpuCoreWatts": 5}
    document = await stored(cluster, capping(namespace, cap=cap, vertical=vertical, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(each=500.0)) as loop:
        report = await looked_at(loop, document)
    assert report.plan.targets[0].bound == bound


async def test_a_recommender_that_is_off_changes_no_estimate(cluster, namespace, kubeconfig):
    made = vpa(namespace, mode="Off")
    await cluster.create(made)
    await cluster.set_status(recommending(made, cpu="1", memory="1Gi"))
    document = await stored(cluster, capping(namespace, vertical={"enabled": True}, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        report = await looked_at(loop, document)
        assert [one.next_extra_watts for one in report.observation.targets.values()] == [0.0]
        [found] = (await status_of(cluster, namespace))["vertical"]
    assert (found["updateMode"], found["cpuCores"], found["extraWatts"]) == ("Off", 8.0, 0.0)


async def test_keda_on_cpu_beside_a_vpa_on_cpu_is_a_conflict_with_an_event(
    cluster, namespace, kubeconfig
):
    trigger = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
    await cluster.merge(
        "keda.sh/v1alpha1",
        "ScaledObject",
        namespace,
        "llm-scaler",
        {"spec": {"triggers": [trigger]}},
    )
    await cluster.create(vpa(namespace, mode="Recreate"))
    vertical = {"enabled": True, "refreshSeconds": 10}
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await cluster.create(capping(namespace, vertical=vertical, **BOUNDS))

        async def conflict():
            return condition(await status_of(cluster, namespace), "AutoscalerConflict")

        found = await eventually(conflict)
        assert (found["status"], found["reason"]) == ("True", "SharedMetric")
        assert "ScaledObject llm-scaler scales Deployment/llm on cpu" in found["message"]

        async def told():
            events = await cluster.list("v1", "Event", namespace)
            return [one for one in events if one["reason"] == "AutoscalerConflict"]

        [event] = await eventually(told)
        assert (event["type"], event["message"]) == ("Warning", found["message"])


async def test_a_vpa_on_gpus_is_refused_and_not_used(cluster, namespace, kubeconfig):
    made = vpa(namespace, resources=("cpu", GPU))
    await cluster.create(made)
    await cluster.set_status(recommending(made, cpu="100"))
    document = await stored(cluster, capping(namespace, vertical={"enabled": True}, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        report = await looked_at(loop, document)
        assert [one.next_extra_watts for one in report.observation.targets.values()] == [0.0]
        status = await status_of(cluster, namespace)
    found = condition(status, "VerticalUnsupported")
    assert (found["status"], found["reason"]) == ("True", "GpuResources")
    assert f"names {GPU}; only cpu and memory" in found["message"]
    assert status.get("vertical", []) == []


async def test_gpus_that_no_next_replica_fits_are_told_with_a_suggestion(
    cluster, namespace, kubeconfig
):
    name = unique("node")
    await cluster.create(node(name, {"kubernetes.io/hostname": name}))
    told = {GPU: "8", "cpu": "64", "memory": "512Gi", "pods": "110"}
    status = {"allocatable": told, "capacity": told}
    await cluster.set_status({**node(name, {}), "status": status})
    other = pod_of(namespace, "other", "10.0.1.1", name, {"cpu": "8"}, {GPU: "6"})
    await cluster.add_pod(other)
    document = await stored(cluster, capping(namespace, vertical={"enabled": True}, **BOUNDS))
    try:
        async with direct_loop(kubeconfig(), Plant()) as loop:
            await looked_at(loop, document)
            found = condition(await status_of(cluster, namespace), "GpuFragmented")
        assert found["status"] == "True"
        assert f"{name}: 2 {GPU}: Deployment/llm needs 4 GPUs a replica" in found["message"]
    finally:
        await cluster.delete("v1", "Node", None, name)


async def test_without_rights_on_all_pods_the_rest_works_and_it_is_said(
    cluster, namespace, kubeconfig
):
    made = vpa(namespace)
    await cluster.create(made)
    await cluster.set_status(recommending(made, cpu="10", memory="64Gi"))
    document = await stored(cluster, capping(namespace, vertical={"enabled": True}, **BOUNDS))
    own = [rule for rule in rules() if rule["resources"] != ["nodes"]]
    token = await cluster.create_user(own)
    async with direct_loop(kubeconfig(token), Plant()) as loop:
        report = await looked_at(loop, document)
        [reading] = report.observation.targets.values()
        assert reading.next_extra_watts == pytest.approx(10.0)
        found = condition(await status_of(cluster, namespace), "VerticalUnread")
    assert found["reason"] == "FreeGpusUnknown"
    assert "see k8s/components/vertical" in found["message"]


async def test_a_cluster_without_the_kind_and_an_outage_change_nothing_that_is_known(
    cluster, namespace, kubeconfig, door
):
    clock = ManualClock()
    document = await stored(
        cluster, capping(namespace, vertical={"enabled": True, "refreshSeconds": 60}, **BOUNDS)
    )
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await looked_at(loop, document)
        status = await status_of(cluster, namespace)
        assert condition(status, "VerticalUnread") is None
        await door.shut()
        clock.advance(61.0)
        await loop.turn()
        await loop.adviser.settled()
        await loop.turn()
        await door.open()
        await loop.turn()
        found = condition(await status_of(cluster, namespace), "VerticalUnread")
        assert (found["status"], found["reason"]) == ("True", "NotReadable")
        clock.advance(61.0)
        await loop.turn()
        await loop.adviser.settled()
        await loop.turn()
        found = condition(await status_of(cluster, namespace), "VerticalUnread")
        assert (found["status"], found["reason"]) == ("False", "Over")
