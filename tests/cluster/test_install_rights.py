"""The shipped roles allow what router and capper ask an API server for, and nothing else.

The rules are read from k8s/ and bound to a user, and the real parts run as that user: `headrace
epp` with the arguments and settings of the Deployment, and the capper over workloads of all kinds.
"""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import yaml
from extproc_harness import SERVING
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kube_needed import install_kinds, install_needed
from kube_objects import inference_pool, ready_pod
from kube_replicas import open_replicas
from kube_rights import Need, recorded
from kustomize_subset import _into_namespace, documents, rendered
from operator_harness import BOUNDS, Plant, capper, capping, deployment, eventually, scaled_object
from telemetry_harness import free_port, until

from capper.api import API_VERSION, KIND

K8S = Path(__file__).resolve().parents[2] / "k8s"
HEADRACE = Path(sys.executable).parent / "headrace"
COMPONENTS = ("enforce", "kserve", "kserve-enforce", "emergency-eviction", "vertical")
UNUSED = {}
"""What is granted and not asked for by this test, each with the reason."""


def shipped(namespace, *components):
    """Roles and bindings of a namespace."""
    objects = dict(rendered(K8S / "rbac"))
    for name in components:
        for obj in documents(K8S / "components" / name / "role.yaml"):
            objects[obj["kind"], obj["metadata"]["name"]] = obj
    return _into_namespace(objects, namespace)


def granted(objects):
    """Everything that the roles allow."""
    return {
        Need(group, resource, verb)
        for obj in objects.values()
        for rule in obj.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@asynccontextmanager
async def bound_user(kube, objects):
    """The token of a user in the place of the service account."""
    token = await kube.create_user([])
    user = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "User",
        "name": token.replace("token", "user"),
    }
    roles = [obj for obj in objects.values() if obj["kind"] != "ServiceAccount"]
    for obj in roles:
        subjects = {"subjects": [user]} if "subjects" in obj else {}
        await kube.apply({**obj, **subjects}, manager="kubectl", force=True)
    try:
        yield token
    finally:
        for obj in roles:
            namespace = obj["metadata"].get("namespace")
            await kube.delete(obj["apiVersion"], obj["kind"], namespace, obj["metadata"]["name"])


@asynccontextmanager
async def picker(kubeconfig, namespace, tmp_path):
    """`headrace epp` as the Deployment starts it, on ports of this machine; its health port."""
    objects = rendered(K8S / "base", namespace=namespace)
    text = objects["ConfigMap", namespace, "headrace-settings"]["data"]["settings.yaml"]
    settings = yaml.safe_load(text)
    settings["capper"]["external_scaler"] = {"host": "127.0.0.1", "port": 0}
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    (container,) = objects["Deployment", namespace, "headrace"]["spec"]["template"]["spec"][
        "containers"
    ]
    health_port = free_port()
    own = {
        "--grpc-port": free_port(),
        "--grpc-health-port": health_port,
        "--metrics-port": free_port(),
        "--settings": path,
    }
    arguments = [
        f"{flag}={own.get(flag, value)}" if equals else flag
        for flag, equals, value in (one.partition("=") for one in container["args"])
    ]
    process = await asyncio.create_subprocess_exec(
        HEADRACE,
        *arguments,
        "--host=127.0.0.1",
        env={
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "NAMESPACE": namespace,
            "POD_NAME": "headrace-0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    probe = container["readinessProbe"]["grpc"]["service"]
    try:
        await until(lambda: is_serving(health_port, probe), seconds=60)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    lines = [json.loads(line) for line in said.splitlines()]  # as the settings ask
    assert not [line for line in lines if "exception" in line]


async def is_serving(port, service):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            reply = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service)
            )
        except grpc.aio.AioRpcError:
            return False
        return reply.status == SERVING


def autoscaler(namespace, name, target):
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "maxReplicas": 9,
        },
    }


def stateful(obj):
    return {**obj, "kind": "StatefulSet", "spec": {**obj["spec"], "serviceName": "x"}}


def kserve(namespace, kind, version, name, spec):
    return {
        "apiVersion": f"serving.kserve.io/{version}",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def workloads(namespace):
    """One workload of each kind that can be capped."""
    predictor = {"predictor": {"minReplicas": 1, "maxReplicas": 9}}
    scaling = {"minReplicas": 1, "maxReplicas": 9, "wva": {"hpa": {}}}
    worker = {"containers": [{"name": "main", "image": "vllm"}]}
    llm = {"model": {"uri": "hf://meta-llama/Llama-3.1-8B"}, "scaling": scaling}
    target = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "by-keda"}
    return [
        stateful(deployment(namespace, "by-keda")),
        scaled_object(namespace, "scaler", scaleTargetRef=target, maxReplicaCount=9),
        deployment(namespace, "by-hpa"),
        autoscaler(namespace, "by-hpa", "by-hpa"),
        deployment(namespace, "plain"),
        stateful(deployment(namespace, "plain-set")),
        kserve(namespace, "InferenceService", "v1beta1", "isvc", predictor),
        deployment(namespace, "isvc-predictor"),
        kserve(namespace, "LLMInferenceService", "v1alpha2", "llm", llm),
        deployment(namespace, "llm-kserve"),
        kserve(namespace, "LLMInferenceService", "v1alpha2", "big", {**llm, "worker": worker}),
    ]


REFS = [
    {"metadata": {"name": "scaler"}},
    {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "by-hpa"}},
    {"kind": "Deployment", "metadata": {"name": "plain"}},
    {"kind": "StatefulSet", "metadata": {"name": "plain-set"}},
    {"kind": "InferenceService", "metadata": {"name": "isvc"}},
    {"kind": "LLMInferenceService", "metadata": {"name": "llm"}},
    {"kind": "LLMInferenceService", "metadata": {"name": "big"}},
]
KINDS = (
    "ScaledObject",
    "HorizontalPodAutoscaler",
    "Deployment",
    "StatefulSet",
    "InferenceService",
    "LLMInferenceService",
)


# Bounds fall at once; what nobody scales down after them is evicted.
EVICTING = {
    **BOUNDS,
    "replicaBounds": {"preferPausedScaleOut": False, "evictAfterSeconds": 0.1},
    "safety": {"shedIntervalSeconds": 0.1},
    "vertical": {"enabled": True},
}


async def cap_and_let_go(kube, kubeconfig, namespace):
    """All kinds are bounded, then everything is put back."""
    async with capper(kubeconfig, Plant(each=500.0), namespace=namespace) as running:
        selectors = [{"kind": kind, "matchLabels": {"no": "body"}} for kind in KINDS]
        await kube.create(
            capping(namespace, "selects", refs=(), mode="Observe", targetSelectors=selectors)
        )
        await kube.create(capping(namespace, "caps", refs=REFS, cap=100, **EVICTING))

        async def bounded():
            report = running.loop.reports.get(f"{namespace}/caps")
            touched = report and [one for one in report.state.targets.values() if one.touched]
            return len(touched or ()) == len(REFS) - 1  # who owns the pods of "big" is not there

        await eventually(bounded)

        async def evicted():
            pods = await kube.list("v1", "Pod", namespace, label_selector="app=by-keda")
            return len(pods) == 1

        await eventually(evicted)
        for name in ("caps", "selects"):
            await kube.delete(API_VERSION, KIND, namespace, name)

        async def gone():
            return not await kube.list(API_VERSION, KIND, namespace)

        await eventually(gone)


@pytest.fixture
async def cluster(kube, namespace):
    (crd,) = documents(K8S / "crds/powercapping.climatik-project.ai_powercappingconfigs.yaml")
    await kube.install_crd(crd)
    pool = inference_pool(namespace, "llama", {"app": "llama"}, (8000,))
    await install_needed(kube, [pool, *workloads(namespace)])
    await install_kinds(
        kube, ("llm-d.ai", "InferenceObjective"), ("llm-d.ai", "InferenceModelRewrite")
    )
    for obj in workloads(namespace):
        await kube.create(obj)
    return kube


async def test_the_roles_allow_what_is_asked_for_and_nothing_else(
    cluster, control_plane, namespace, tmp_path
):
    objects = shipped(namespace, *COMPONENTS)
    async with (
        recorded(control_plane) as recorder,
        bound_user(cluster, objects) as token,
        open_replicas() as replicas,
    ):
        kubeconfig = recorder.kubeconfig(tmp_path / "config", token, namespace=namespace)
        pool = inference_pool(namespace, "llama", {"app": "llama"}, (replicas.port,))
        await cluster.create(pool)
        ip = await replicas.open(1)
        await cluster.add_pod(ready_pod(namespace, "p1", ip, labels={"app": "llama"}))
        for name in ("k1", "k2"):
            await cluster.add_pod(ready_pod(namespace, name, ip, labels={"app": "by-keda"}))
        try:
            async with picker(kubeconfig, namespace, tmp_path):
                await until(lambda: lease_holder(cluster, namespace, "headrace-0"), seconds=20)
            await cap_and_let_go(cluster, kubeconfig, namespace)
        finally:
            assert recorder.refused() == [], "a right is missing"
        assert recorder.needs() <= granted(objects)
        assert granted(objects) - recorder.needs() == set(UNUSED), "nobody needs this right"


async def test_without_the_enforcing_component_nothing_can_be_changed(
    cluster, control_plane, namespace, tmp_path
):
    objects = shipped(namespace, "kserve")
    before = await specs(cluster, namespace)
    async with recorded(control_plane) as recorder, bound_user(cluster, objects) as token:
        kubeconfig = recorder.kubeconfig(tmp_path / "config", token, namespace=namespace)
        async with capper(kubeconfig, Plant(each=500.0), namespace=namespace):
            await cluster.create(capping(namespace, "caps", refs=REFS, cap=100, **BOUNDS))

            async def refused():
                found = await cluster.get(API_VERSION, KIND, namespace, "caps")
                actions = (found.get("status") or {}).get("lastActions", ())
                return {one["action"].partition(":")[0] for one in actions} if actions else None

            names = await eventually(refused)
            status = (await cluster.get(API_VERSION, KIND, namespace, "caps"))["status"]
            assert {one["outcome"] for one in status["lastActions"]} == {"Refused"}
            assert all("forbidden" in one["reason"] for one in status["lastActions"])
            assert await specs(cluster, namespace) == before
            assert names == {f"{kind_of(ref)}/{namespace}/{name_of(ref)}" for ref in REFS[:-1]}
        # Taken away by hand: the finalizer is ours, and nothing was changed that it could put back.
        assert recorder.refused()


async def test_without_the_right_to_nodes_the_picker_serves(
    cluster, control_plane, namespace, tmp_path
):
    objects = {key: obj for key, obj in shipped(namespace).items() if key[2] != "headrace-nodes"}
    await cluster.create(inference_pool(namespace, "llama", {"app": "llama"}, (8000,)))
    async with recorded(control_plane) as recorder, bound_user(cluster, objects) as token:
        kubeconfig = recorder.kubeconfig(tmp_path / "config", token, namespace=namespace)
        async with picker(kubeconfig, namespace, tmp_path):
            assert recorder.refused() == ["/api/v1/nodes"]


def kind_of(ref):
    return ref.get("kind", "ScaledObject")


def name_of(ref):
    return ref["metadata"]["name"]


async def specs(kube, namespace):
    return [
        (await kube.get(obj["apiVersion"], obj["kind"], namespace, obj["metadata"]["name"]))["spec"]
        for obj in workloads(namespace)
    ]


async def lease_holder(kube, namespace, pod):
    leases = await kube.list("coordination.k8s.io/v1", "Lease", namespace)
    return any((one["spec"].get("holderIdentity") or "").startswith(pod) for one in leases)
