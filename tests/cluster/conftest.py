"""Fixtures of a Kubernetes control plane (see tests/kube_cluster.py)."""

import uuid

import pytest
from kube_cluster import ADMIN_TOKEN, Door, KubeApi, write_kubeconfig
from kube_processes import control_plane as running_control_plane
from operator_harness import deployment, install, scaled_object


@pytest.fixture(scope="session")
def control_plane():
    with running_control_plane() as plane:
        yield plane


@pytest.fixture
async def kube(control_plane):
    async with KubeApi(control_plane) as api:
        yield api


@pytest.fixture
async def namespace(kube):
    name = f"test-{uuid.uuid4().hex[:8]}"
    await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
async def keda(kube, namespace):
    """KEDA's CRDs, and a Deployment of four replicas under a ScaledObject of at most nine."""
    await install(kube, "keda")
    await kube.create(deployment(namespace, replicas=4))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    return kube


@pytest.fixture
async def door(control_plane):
    passage = Door(control_plane)
    await passage.open()
    yield passage
    await passage.shut()


@pytest.fixture
def kubeconfig(control_plane, tmp_path, door):
    """Make the file of a user, through the door."""

    def write(token=ADMIN_TOKEN, *, namespace="default"):
        path = tmp_path / f"kubeconfig-{uuid.uuid4().hex[:8]}.yaml"
        return write_kubeconfig(
            path, control_plane, port=door.port, token=token, namespace=namespace
        )

    return write


@pytest.fixture
def needs_real_api_server(control_plane):
    if control_plane.kind != "kube-apiserver":
        pytest.skip("needs a real kube-apiserver")
