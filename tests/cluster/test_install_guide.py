"""The commands of the installation page and the user guide, run as they stand, on an API server."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
from guide_pages import PAGES, ROOT, commands, objects
from kube_cluster import KubeError
from kube_needed import install_needed
from kustomize_subset import rendered

from capper.api.schema import custom_resource_definition

pytestmark = pytest.mark.usefixtures("needs_real_api_server")
OTHERS = {"argoproj.io", "kustomize.toolkit.fluxcd.io", "kustomize.config.k8s.io"}
BUILDS = [ROOT / "k8s" / name for name in ("monitoring", "overlays/kserve", "overlays/vllm-keda")]


async def run(line, kubeconfig):
    process = await asyncio.create_subprocess_shell(
        line,
        cwd=ROOT,
        env={
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, f"{line}: {said.decode()}"
    return said.decode()


@pytest.mark.timeout(120)
async def test_every_command_does_what_the_page_says(kube, kubeconfig):
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on PATH")
    path = kubeconfig()
    for build in BUILDS:
        await install_needed(kube, rendered(build).values())
    first, *others = PAGES
    install = commands(first)
    taking_away = next(n for n, line in enumerate(install) if "delete powercapping" in line)
    for line in install[:taking_away]:
        said = await run(line, path)
    assert "headrace" in said
    for page in sorted(others, key=lambda page: page.name != "observe.md"):
        for line in commands(page):
            await run(line, path)
    for line in install[taking_away:]:
        said = await run(line, path)
    assert "No resources found" in said
    await run(
        "kubectl delete clusterrole,clusterrolebinding -l app.kubernetes.io/part-of=headrace", path
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_every_object_of_a_page_is_accepted(kube, namespace, page):
    await kube.install_crd(custom_resource_definition())
    for obj in objects(page):
        if obj["apiVersion"].partition("/")[0] in OTHERS or obj["kind"] == "ConfigMap":
            continue
        await install_needed(kube, [obj])
        await dry_run(kube, {**obj, "metadata": {**obj["metadata"], "namespace": namespace}})


async def dry_run(kube, obj):
    metadata = obj["metadata"]
    path = await kube._path(obj["apiVersion"], obj["kind"], metadata["namespace"], metadata["name"])
    try:
        await kube.request(
            "PATCH",
            path,
            obj,
            content_type="application/apply-patch+yaml",
            fieldManager="kubectl",
            dryRun="All",
        )
    except KubeError as error:
        raise AssertionError(f"{obj['kind']}: {error}") from error
