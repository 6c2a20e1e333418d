"""The manifests in k8s/ against an API server: everything is accepted as it is."""

import contextlib
from pathlib import Path

import pytest
from kube_cluster import KubeError
from kube_needed import install_needed, install_own
from kustomize_subset import CLUSTER_KINDS, rendered

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = sorted(path for path in (K8S / "overlays").iterdir())
MANAGER = "kubectl"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


async def accepted(kube, objects, *, plane):
    """Apply all objects as `kubectl apply --server-side --dry-run=server` would.

    The in-memory server has no dry run: there they are applied, and those of the whole cluster are
    taken away again.
    """
    real = plane.kind == "kube-apiserver"
    for obj in ordered(objects):
        if obj["kind"] == "Namespace":
            continue
        path = await kube._path(
            obj["apiVersion"],
            obj["kind"],
            obj["metadata"].get("namespace"),
            obj["metadata"]["name"],
        )
        await kube.request(
            "PATCH",
            path,
            obj,
            content_type="application/apply-patch+yaml",
            fieldManager=MANAGER,
            fieldValidation="Strict",
            **({"dryRun": "All"} if real else {}),
        )
        if not real and obj["kind"] in CLUSTER_KINDS - {"CustomResourceDefinition"}:
            with contextlib.suppress(KubeError):
                await kube.delete(obj["apiVersion"], obj["kind"], None, obj["metadata"]["name"])


def ordered(objects):
    """As kubectl takes them: what others need comes first."""
    first = {"CustomResourceDefinition": 0, "ServiceAccount": 1}
    return sorted(objects.values(), key=lambda obj: first.get(obj["kind"], 2))


@pytest.mark.parametrize(
    "folder", [K8S / "base", K8S / "monitoring", *OVERLAYS], ids=lambda path: path.name
)
async def test_every_object_of_a_build_is_accepted(kube, control_plane, namespace, folder):
    objects = rendered(folder, namespace=namespace)
    await install_own(kube)
    await install_needed(kube, objects.values())
    await accepted(kube, objects, plane=control_plane)


@pytest.mark.usefixtures("needs_real_api_server")
async def test_our_pod_keeps_the_restricted_pod_security_standard(kube, namespace):
    await kube.merge("v1", "Namespace", None, namespace, {"metadata": {"labels": RESTRICTED}})
    objects = rendered(K8S / "overlays/vllm-keda", namespace=namespace)
    template = objects["Deployment", namespace, "headrace"]["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": "headrace", **template["metadata"]},
        "spec": template["spec"],
    }
    await kube.create(pod)
    pod["metadata"]["name"] = "without"
    del pod["spec"]["containers"][0]["securityContext"]
    with pytest.raises(KubeError, match="violates PodSecurity"):
        await kube.create(pod)


async def test_what_is_misspelt_is_refused(kube, control_plane, namespace):
    if control_plane.kind != "kube-apiserver":
        pytest.skip("only the real API server looks for unknown fields")
    objects = rendered(K8S / "overlays/vllm-keda", namespace=namespace)
    scaled = objects["ScaledObject", namespace, "llama"]
    scaled["spec"]["maxReplicas"] = scaled["spec"].pop("maxReplicaCount")
    await install_needed(kube, [scaled])
    with pytest.raises(KubeError, match="not declared in schema"):
        await accepted(kube, {0: scaled}, plane=control_plane)
