"""The role is what the code needs: enough for a whole life of every kind, and nothing besides."""

from kube_cluster import KubeError
from kube_objects import ready_pod
from kube_rights import Need, recorded
from operator_harness import (
    Plant,
    capper,
    capping,
    config_of,
    deployment,
    eventually,
    install,
    scaled_object,
)
from racks_harness import gates_of, get_pod, pod, racks_of_test

from capper.api import API_VERSION, KIND
from capper.operator.permissions import PERMISSIONS, rules

KSERVE = "serving.kserve.io"


def stateful_set(namespace):
    labels = {"app": "stateful"}
    obj = deployment(namespace, "stateful", replicas=4, labels=labels)
    obj["spec"]["serviceName"] = "stateful"
    return {**obj, "kind": "StatefulSet"}


def autoscaler(namespace, target):
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": namespace, "name": "scaled"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "maxReplicas": 9,
        },
    }


def services(namespace):
    yield {
        "apiVersion": f"{KSERVE}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"namespace": namespace, "name": "isvc"},
        "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 9}},
    }
    model = {"model": {"uri": "hf://a/b", "name": "m"}, "replicas": 4}
    for name, spec in (
        ("llmisvc", model),
        # On several nodes: a LeaderWorkerSet, which is only read. Nobody makes one here.
        ("wide", {**model, "worker": {"containers": [{"name": "main"}]}}),
    ):
        yield {
            "apiVersion": f"{KSERVE}/v1alpha2",
            "kind": "LLMInferenceService",
            "metadata": {"namespace": namespace, "name": name},
            "spec": spec,
        }


async def gated_and_let_go(kube, namespace):
    """A pod at the rack gate, of which nobody knows the watts."""
    await kube.create(pod(namespace, "gated"))

    async def is_let_go():
        return not gates_of(await get_pod(kube, namespace, "gated"))

    await eventually(is_let_go, seconds=30)


async def test_the_role_is_exactly_what_is_used(kube, namespace, control_plane, tmp_path):
    await install(kube, "keda", "kserve-minimal")
    for obj in (
        deployment(namespace, "llm"),
        scaled_object(namespace, maxReplicaCount=9),
        deployment(namespace, "plain"),
        deployment(namespace, "behind"),
        autoscaler(namespace, "behind"),
        stateful_set(namespace),
        deployment(namespace, "isvc-predictor"),
        deployment(namespace, "llmisvc-kserve"),
        *services(namespace),
    ):
        await kube.create(obj)
    names = [
        ("ScaledObject", "llm-scaler"),
        ("Deployment", "plain"),
        ("HorizontalPodAutoscaler", "scaled"),
        ("StatefulSet", "stateful"),
        ("InferenceService", "isvc"),
        ("LLMInferenceService", "llmisvc"),
        ("LLMInferenceService", "wide"),
    ]
    document = capping(
        namespace,
        cap=500,
        refs=[{"kind": kind, "metadata": {"name": name}} for kind, name in names],
        targetSelectors=[{"kind": kind, "matchLabels": {"no": "body"}} for kind, _ in names[:-1]],
        safety={"shedIntervalSeconds": 0.1},
        price={"enabled": False},
        placement={"gateSeconds": 1},
        vertical={"enabled": True},
        replicaBounds={"preferPausedScaleOut": False, "evictAfterSeconds": 0.1},
    )
    for number in range(2):  # nobody plays KEDA: the bound alone takes neither
        await kube.add_pod(
            ready_pod(namespace, f"p{number}", f"10.0.0.{number}", labels={"app": "llm"})
        )
    token = await kube.create_user(rules())
    async with recorded(control_plane) as recorder:
        path = recorder.kubeconfig(tmp_path / "kubeconfig.yaml", token, namespace="default")
        racks = {"make_racks": racks_of_test()}
        async with capper(path, Plant(), namespace=namespace, **racks) as running:
            await kube.create(document)

            async def all_written():
                report = running.loop.reports.get(f"{namespace}/cap")
                if report is None:
                    return False
                states = report.state.targets.values()
                return sum(one.touched for one in states) == len(names) - 1

            await eventually(all_written, seconds=30)

            async def one_is_evicted():
                return len(await kube.list("v1", "Pod", namespace)) == 1

            await eventually(one_is_evicted, seconds=30)
            await gated_and_let_go(kube, namespace)
            await kube.delete(API_VERSION, KIND, namespace, "cap")

            async def is_gone():
                try:
                    await config_of(kube, namespace)
                except KubeError as error:
                    return error.code == 404
                return False

            await eventually(is_gone, seconds=30)
    allowed = {Need(one.group, one.resource, verb) for one in PERMISSIONS for verb in one.verbs}
    assert recorder.refused() == []
    assert recorder.needs() - allowed == set()
    assert allowed - recorder.needs() == set()
