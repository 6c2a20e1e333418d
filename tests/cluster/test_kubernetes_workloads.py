"""Bounds in a cluster: the one field is written, its first value comes back, nobody is fought."""

import json

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config

from capper.actuators.kubernetes import ORIGINAL, PAUSE, KubernetesWorkloads
from capper.actuators.workloads import Trouble, WorkloadError
from capper.kube.api import FIELD_MANAGER, KubeApi
from capper.kube.kinds import at, managers


@pytest.fixture
async def api(kubeconfig):
    configuration = Configuration()
    await load_kube_config(config_file=str(kubeconfig()), client_configuration=configuration)
    async with ApiClient(configuration) as client:
        yield KubeApi(client)


@pytest.fixture
def workloads(api):
    return KubernetesWorkloads(api)


@pytest.fixture
async def keda(kube):
    await kube.install_crds("keda")
    return kube


@pytest.fixture
async def kserve(kube):
    await kube.install_crds("kserve-minimal", "keda")
    return kube


def deployment(namespace, name="llm", replicas=3, owner=None):
    labels = {"app": name}
    metadata = {"namespace": namespace, "name": name}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "vllm", "image": "vllm"}]},
            },
        },
    }


def scaled_object(namespace, name="llm-scaler", target="llm", owner=None, **spec):
    metadata = {"namespace": namespace, "name": name}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"name": target},
            "triggers": [{"type": "cron", "metadata": {"desiredReplicas": "3"}}],
            **spec,
        },
    }


def inference_service(namespace, name="llama", **predictor):
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"predictor": {"minReplicas": 1, **predictor}},
    }


def owned_by(obj):
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
    }


async def scaler_of(kube, namespace):
    return await kube.get("keda.sh/v1alpha1", "ScaledObject", namespace, "llm-scaler")


def ref(namespace, kind="ScaledObject", name="llm-scaler"):
    return f"{kind}/{namespace}/{name}"


async def test_replicas_are_read_from_object_workload_and_autoscaler(keda, namespace, workloads):
    await keda.create(deployment(namespace, replicas=4))
    await keda.create(scaled_object(namespace, minReplicaCount=2, maxReplicaCount=9))
    workload = await workloads.read(ref(namespace))
    reading = workload.reading
    assert (reading.spec_replicas, reading.min_replicas, reading.max_replicas) == (4, 2, 9)
    assert (reading.current_replicas, reading.scale_out_paused) == (4, False)
    assert (workload.written, workload.backend) == (ref(namespace), "llm")


async def test_kedas_defaults_count_where_nothing_is_set(keda, namespace, workloads):
    await keda.create(scaled_object(namespace))
    reading = (await workloads.read(ref(namespace))).reading
    assert (reading.min_replicas, reading.max_replicas, reading.current_replicas) == (0, 100, None)


async def test_the_autoscalers_wish_is_part_of_current(keda, namespace, workloads):
    await keda.create(deployment(namespace, replicas=3))
    await keda.create(scaled_object(namespace))
    made = await keda.create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": namespace, "name": "keda-hpa-llm-scaler"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
                "maxReplicas": 9,
            },
        }
    )
    await keda.set_status({**made, "status": {"desiredReplicas": 6, "currentReplicas": 3}})
    assert (await workloads.read(ref(namespace))).reading.current_replicas == 6


async def test_one_field_is_written_and_its_first_value_is_kept(keda, namespace, workloads):
    await keda.create(scaled_object(namespace, maxReplicaCount=9))
    await workloads.set_max_replicas(ref(namespace), 5)
    await workloads.set_max_replicas(ref(namespace), 4)
    found = await scaler_of(keda, namespace)
    assert found["spec"]["maxReplicaCount"] == 4
    assert json.loads(at(found, ORIGINAL)) == 9
    owned = [
        path
        for path in (("spec", "maxReplicaCount"), ("spec", "triggers"), ("spec", "scaleTargetRef"))
        if (FIELD_MANAGER, "Apply") in managers(found, path)
    ]
    assert owned == [("spec", "maxReplicaCount")]


@pytest.mark.parametrize("maximum", [9, None])
async def test_what_was_there_comes_back_without_a_trace(keda, namespace, workloads, maximum):
    spec = {} if maximum is None else {"maxReplicaCount": maximum}
    await keda.create(scaled_object(namespace, **spec))
    before = (await scaler_of(keda, namespace))["spec"]
    await workloads.set_max_replicas(ref(namespace), 5)
    await workloads.pause_scale_out(ref(namespace))
    await workloads.resume_scale_out(ref(namespace))
    await workloads.restore_max_replicas(ref(namespace))
    await workloads.restore_max_replicas(ref(namespace))
    found = await scaler_of(keda, namespace)
    assert found["spec"] == before
    assert at(found, ORIGINAL) is None
    assert at(found, PAUSE) is None


async def test_a_pause_keeps_the_bound_and_the_other_way_round(keda, namespace, workloads):
    await keda.create(scaled_object(namespace, maxReplicaCount=9))
    await workloads.set_max_replicas(ref(namespace), 5)
    await workloads.pause_scale_out(ref(namespace))
    found = await scaler_of(keda, namespace)
    assert (at(found, PAUSE), found["spec"]["maxReplicaCount"]) == ("true", 5)
    await workloads.set_max_replicas(ref(namespace), 6)
    await workloads.resume_scale_out(ref(namespace))
    found = await scaler_of(keda, namespace)
    assert (at(found, PAUSE), found["spec"]["maxReplicaCount"]) == (None, 6)


async def test_somebody_elses_pause_is_left_alone(keda, namespace, workloads):
    obj = scaled_object(namespace)
    obj["metadata"]["annotations"] = {PAUSE[-1]: "true"}
    await keda.create(obj)
    await workloads.pause_scale_out(ref(namespace))
    await workloads.resume_scale_out(ref(namespace))
    assert at(await scaler_of(keda, namespace), PAUSE) == "true"


async def test_a_field_that_git_applies_is_not_taken(keda, namespace, workloads):
    await keda.apply(scaled_object(namespace, maxReplicaCount=9), manager="argocd")
    with pytest.raises(WorkloadError) as refused:
        await workloads.set_max_replicas(ref(namespace), 5)
    assert refused.value.trouble is Trouble.CONFLICT
    assert "argocd" in str(refused.value)
    found = await scaler_of(keda, namespace)
    assert (found["spec"]["maxReplicaCount"], at(found, ORIGINAL)) == (9, None)

    await workloads.set_max_replicas(ref(namespace), 5, take_ownership=True)
    assert (await scaler_of(keda, namespace))["spec"]["maxReplicaCount"] == 5


async def test_kserve_is_written_at_the_service_and_not_at_what_it_owns(
    kserve, namespace, workloads
):
    service = await kserve.create(inference_service(namespace, maxReplicas=8))
    owner = owned_by(service)
    await kserve.create(deployment(namespace, "llama-predictor", 2, owner))
    await kserve.create(
        scaled_object(namespace, "llama-predictor", "llama-predictor", owner, maxReplicaCount=8)
    )
    for kind in ("ScaledObject", "Deployment"):
        named = ref(namespace, kind, "llama-predictor")
        workload = await workloads.read(named)
        assert workload.written == ref(namespace, "InferenceService", "llama")
        assert workload.reading.spec_replicas == 2
        assert not workload.supports_pause
    await workloads.set_max_replicas(named, 3)
    found = await kserve.get(service["apiVersion"], "InferenceService", namespace, "llama")
    assert found["spec"]["predictor"]["maxReplicas"] == 3
    child = await kserve.get("keda.sh/v1alpha1", "ScaledObject", namespace, "llama-predictor")
    assert child["spec"]["maxReplicaCount"] == 8


async def test_a_deployment_is_bounded_at_whatever_scales_it(keda, namespace, workloads):
    await keda.create(deployment(namespace))
    await keda.create(scaled_object(namespace, maxReplicaCount=9))
    workload = await workloads.read(ref(namespace, "Deployment", "llm"))
    assert workload.written == ref(namespace)


async def test_a_plain_deployment_is_bounded_by_its_scale(keda, namespace, workloads):
    await keda.create(deployment(namespace, replicas=6))
    named = ref(namespace, "Deployment", "llm")
    template = (await keda.get("apps/v1", "Deployment", namespace, "llm"))["spec"]["template"]
    await workloads.set_max_replicas(named, 8)
    await workloads.set_max_replicas(named, 4)
    await workloads.set_max_replicas(named, 5)
    found = await keda.get("apps/v1", "Deployment", namespace, "llm")
    assert found["spec"]["replicas"] == 5
    assert found["spec"]["template"] == template, "no pod is restarted"
    assert json.loads(at(found, ORIGINAL)) == 6
    await workloads.restore_max_replicas(named)
    found = await keda.get("apps/v1", "Deployment", namespace, "llm")
    assert (found["spec"]["replicas"], at(found, ORIGINAL)) == (6, None)


async def test_a_disruption_budget_is_a_floor(keda, namespace, workloads):
    await keda.create(deployment(namespace))
    budget = await keda.create(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"namespace": namespace, "name": "llm"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "llm"}}},
        }
    )
    status = {
        "desiredHealthy": 2,
        "currentHealthy": 3,
        "disruptionsAllowed": 1,
        "expectedPods": 3,
    }
    await keda.set_status({**budget, "status": status})
    reading = (await workloads.read(ref(namespace, "Deployment", "llm"))).reading
    assert reading.disruption_floor == 2


@pytest.mark.parametrize("call", ["read", "restore_max_replicas", "pause_scale_out"])
async def test_what_is_not_there_is_said_and_never_created(keda, namespace, workloads, call):
    with pytest.raises(WorkloadError) as refused:
        await getattr(workloads, call)(ref(namespace, name="nobody"))
    assert refused.value.trouble is Trouble.GONE
    assert await keda.list("keda.sh/v1alpha1", "ScaledObject", namespace) == []


async def test_an_api_server_that_is_gone_is_unavailable(keda, namespace, workloads, door):
    await keda.create(scaled_object(namespace))
    await door.shut()
    with pytest.raises(WorkloadError) as refused:
        await workloads.read(ref(namespace))
    assert refused.value.trouble is Trouble.UNAVAILABLE
    await door.open()
    assert (await workloads.read(ref(namespace))).reading.max_replicas == 100
