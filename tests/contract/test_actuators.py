"""What the loop may rely on, whatever holds the replicas: one suite on every adapter."""

import contextlib
import dataclasses
import json

import pytest
from kube_cluster import ADMIN_TOKEN, Door, KubeApi, write_kubeconfig
from kube_processes import control_plane as running_control_plane
from kubernetes.aio.client import ApiClient
from operator_harness import deployment, scaled_object, unique

from capper.actuators.bounds import original_max, values_of
from capper.actuators.kubernetes import KubernetesWorkloads
from capper.actuators.local import LocalReplicas, LocalWorkloads
from capper.actuators.workloads import Trouble, WorkloadError
from capper.kube.api import KubeApi as ProductApi
from telemetry.kubernetes.client import load_configuration

KINDS = ["local", "scaledobject", "hpa", "deployment", "isvc", "llmisvc", "llmisvc-prefill"]
RUNNING = 4


class Sleepers:
    """A local fleet of one backend."""

    def __init__(self, name):
        self.name = name
        self.awake = RUNNING

    def replicas(self, backend):
        return LocalReplicas(self.awake, RUNNING) if backend == self.name else None

    async def set_awake(self, backend, count):
        assert backend == self.name
        self.awake = count


@pytest.fixture(scope="session")
def plane():
    with running_control_plane() as running:
        yield running


@contextlib.asynccontextmanager
async def cluster(plane, tmp_path):
    door = Door(plane)
    await door.open()
    path = write_kubeconfig(tmp_path / "config", plane, port=door.port, token=ADMIN_TOKEN)
    async with KubeApi(plane) as kube, ApiClient(await load_configuration(str(path))) as client:
        yield kube, KubernetesWorkloads(ProductApi(client))
    await door.shut()


def objects(kind, namespace):
    scaling = {"minReplicas": 1, "maxReplicas": 9, "wva": {"variantCost": "1.0", "keda": {}}}
    model = {"model": {"uri": "hf://a/b", "name": "m"}}
    if kind == "scaledobject":
        yield deployment(namespace, replicas=RUNNING)
        yield scaled_object(namespace, "named", maxReplicaCount=9)
    elif kind == "hpa":
        yield deployment(namespace, replicas=RUNNING)
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"}
        yield {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": namespace, "name": "named"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 9},
        }
    elif kind == "deployment":
        yield deployment(namespace, "named", replicas=RUNNING)
    elif kind == "isvc":
        yield deployment(namespace, "named-predictor", replicas=RUNNING)
        yield {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"namespace": namespace, "name": "named"},
            "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 9}},
        }
    else:
        spec = {**model, "scaling": scaling}
        yield deployment(namespace, "named-kserve", replicas=3 if "prefill" in kind else RUNNING)
        if "prefill" in kind:
            spec["prefill"] = {"scaling": {**scaling, "maxReplicas": 3}}
            yield deployment(namespace, "named-kserve-prefill", replicas=1)
        yield {
            "apiVersion": "serving.kserve.io/v1alpha2",
            "kind": "LLMInferenceService",
            "metadata": {"namespace": namespace, "name": "named"},
            "spec": spec,
        }


@dataclasses.dataclass
class Case:
    workloads: object
    ref: str
    missing: str
    raw: object


@pytest.fixture(params=KINDS)
async def case(request, tmp_path):
    kind = request.param
    if kind == "local":
        fleet = Sleepers("named")

        async def awake():
            return fleet.awake

        workloads = LocalWorkloads(fleet)
        yield Case(workloads, "Deployment/x/named", "Deployment/x/nobody", awake)
        return
    async with cluster(request.getfixturevalue("plane"), tmp_path) as (kube, workloads):
        await kube.install_crds("keda", "kserve-minimal")
        namespace = unique("contract")
        meta = {"name": namespace}
        await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        created = [await kube.create(obj) for obj in objects(kind, namespace)]
        last = created[-1]

        async def raw():
            where = (last["apiVersion"], last["kind"], namespace, "named")
            found = await kube.get(*where)
            return found["spec"], found["metadata"].get("annotations")

        ref = f"{last['kind']}/{namespace}/named"
        yield Case(workloads, ref, f"{last['kind']}/{namespace}/nobody", raw)


async def test_a_read_tells_what_runs_and_that_nothing_is_ours(case):
    workload = await case.workloads.read(case.ref)
    assert workload.reading.current_replicas == RUNNING
    assert (bool(workload.is_ours), workload.kept) == (False, None)
    json.loads(workload.present)


async def test_a_bound_is_there_when_it_is_read_and_is_ours(case):
    present = (await case.workloads.read(case.ref)).present
    await case.workloads.set_max_replicas(case.ref, 3, original=present)
    workload = await case.workloads.read(case.ref)
    assert workload.reading.max_replicas == 3
    # KServe's services cannot tell; the loop remembers for them.
    assert workload.is_ours or (workload.is_ours is None and workload.present != present)


async def test_writes_are_idempotent_and_what_was_there_comes_back_without_a_trace(case):
    before, present = await case.raw(), (await case.workloads.read(case.ref)).present
    for bound in (3, 3, 2, 3):
        await case.workloads.set_max_replicas(case.ref, bound, original=present)
    bounded = await case.raw()
    await case.workloads.set_max_replicas(case.ref, 3, original=present)
    assert await case.raw() == bounded
    assert bounded != before
    for _ in range(2):
        await case.workloads.restore_max_replicas(case.ref, present)
        assert await case.raw() == before
    assert not (await case.workloads.read(case.ref)).is_ours


async def test_restoring_what_was_never_bounded_changes_nothing(case):
    before = await case.raw()
    await case.workloads.restore_max_replicas(case.ref)
    assert await case.raw() == before


async def test_a_pause_is_a_pause_or_is_refused(case):
    if (await case.workloads.read(case.ref)).supports_pause:
        await case.workloads.pause_scale_out(case.ref)
        workload = await case.workloads.read(case.ref)
        assert (workload.reading.scale_out_paused, workload.pause_is_ours) == (True, True)
        await case.workloads.resume_scale_out(case.ref)
        assert not (await case.workloads.read(case.ref)).pause_is_ours
        return
    with pytest.raises(WorkloadError) as refused:
        await case.workloads.pause_scale_out(case.ref)
    assert refused.value.trouble is Trouble.UNSUPPORTED


async def test_what_is_not_there_is_gone(case):
    for call in ("read", "restore_max_replicas"):
        with pytest.raises(WorkloadError) as refused:
            await getattr(case.workloads, call)(case.missing)
        assert refused.value.trouble is Trouble.GONE


async def test_what_was_present_can_be_read_as_a_number(case):
    present = (await case.workloads.read(case.ref)).present
    total = original_max(present)
    found = json.loads(present)
    assert total == (sum(found) if isinstance(found, list) else found)
    count = len(found) if isinstance(found, list) else 1
    assert values_of("null", count + 1) == [None] * (count + 1)


@pytest.mark.parametrize("case", ["isvc", "llmisvc"], indirect=True)
async def test_kserve_gets_no_annotation_that_would_restart_its_pods(case):
    present = (await case.workloads.read(case.ref)).present
    await case.workloads.set_max_replicas(case.ref, 3, original=present)
    _, annotations = await case.raw()
    assert not annotations


@pytest.mark.parametrize("case", ["llmisvc-prefill"], indirect=True)
async def test_prefill_and_decode_are_bounded_jointly(case):
    workload = await case.workloads.read(case.ref)
    assert workload.reading.max_replicas == 12
    await case.workloads.set_max_replicas(case.ref, 4, original=workload.present)
    spec, _ = await case.raw()
    bounds = (spec["scaling"]["maxReplicas"], spec["prefill"]["scaling"]["maxReplicas"])
    assert bounds == (3, 1), "a freeze of both is a freeze of each"
    await case.workloads.set_max_replicas(case.ref, 8, original=workload.present)
    spec, _ = await case.raw()
    bounds = (spec["scaling"]["maxReplicas"], spec["prefill"]["scaling"]["maxReplicas"])
    assert bounds == (6, 2), "growth follows what each may have"
