"""Installs only those CRDs that some objects need: all of a project's take half a minute."""

from pathlib import Path

import pytest
from kube_cluster import crd_folder, definitions

OWN = "powercapping.climatik-project.ai"
BUILT_IN = frozenset(
    {
        *("", "apps", "autoscaling", "policy", "networking.k8s.io"),
        *("apiextensions.k8s.io", "rbac.authorization.k8s.io"),
    }
)

# A project that keeps all its kinds in one file.
_FILES = {"autoscaling.k8s.io": "vpa/vpa-v1-crd-gen.yaml"}


async def install_own(kube):
    """Install Headrace's own CRD as it is committed."""
    folder = Path(__file__).resolve().parents[1] / "k8s/crds"
    (file,) = folder.glob(f"{OWN}_*.yaml")
    for document in definitions(file):
        await kube.install_crd(document)


async def install_needed(kube, objects):
    """Install the shared CRDs of the objects' kinds; skips the test where the folder is absent."""
    wanted = set()
    for obj in objects:
        group, _, _ = obj["apiVersion"].rpartition("/")
        if group not in BUILT_IN | {OWN}:
            wanted.add((group, obj["kind"]))
    await install_kinds(kube, *sorted(wanted))


async def install_kinds(kube, *kinds):
    """Install the shared CRDs of (group, kind) pairs."""
    for group, kind in kinds:
        plural = f"{kind.lower()}s"
        if not crd_folder().is_dir():
            pytest.skip(f"no CRDs in {crd_folder()}")
        (file,) = crd_folder().glob(_FILES.get(group, f"*/{group}_{plural}.yaml"))
        for document in definitions(file):
            await kube.install_crd(document)
