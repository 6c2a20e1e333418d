"""Where the binaries of a control plane are, and what the cluster tests stand on."""

import os
import subprocess
from pathlib import Path

IN_MEMORY_VERSION = "v1.36.0-in-memory"


def assets():
    """The folder of both binaries as envtest looks for it, or None."""
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS", "/usr/local/kubebuilder/bin"))
    return folder if all((folder / name).exists() for name in ("kube-apiserver", "etcd")) else None


def described():
    """One line on what the cluster tests stood on."""
    folder = assets()
    if folder is None:
        return f"in-memory API server ({IN_MEMORY_VERSION}); no kube-apiserver and etcd found"
    said = subprocess.run(
        [folder / "kube-apiserver", "--version"], capture_output=True, text=True, check=False
    )
    return f"kube-apiserver {said.stdout.strip().removeprefix('Kubernetes ')} with etcd ({folder})"
