"""The shipped roles of racks allow what capper and sweeper ask for, and nothing besides."""

import asyncio
from pathlib import Path

from kube_rights import Need, recorded
from kustomize_subset import documents
from operator_harness import capper, deployment, eventually, install
from racks_harness import (
    HEADRACE,
    RackPlant,
    gates_of,
    get_pod,
    node,
    pod,
    rack_config,
    racks_of_test,
)

K8S = Path(__file__).resolve().parents[2] / "k8s"
RACKS = K8S / "components/rack-placement"


def rules_of(*paths):
    return [
        rule
        for path in paths
        for obj in documents(path)
        if obj["kind"] in {"ClusterRole", "Role"}
        for rule in obj["rules"]
    ]


def needs_of(rules):
    return {
        Need(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def ungated(kube, namespace, name):
    async def look():
        return not gates_of(await get_pod(kube, namespace, name))

    await eventually(look)


async def test_the_cappers_role_of_racks_is_what_it_uses(kube, namespace, control_plane, tmp_path):
    await install(kube)
    own = rules_of(RACKS / "role.yaml")
    token = await kube.create_user([*rules_of(*sorted((K8S / "rbac").glob("*-role.yaml"))), *own])
    await kube.create(node(f"{namespace}-n", "r1"))
    await kube.create(deployment(namespace, replicas=1))
    async with recorded(control_plane) as recorder:
        path = recorder.kubeconfig(tmp_path / "kubeconfig", token, namespace=namespace)
        plant = RackPlant({"r1": 1000})
        async with capper(path, plant, namespace=namespace, make_racks=racks_of_test()):
            await kube.create(rack_config(namespace, {"r1": (9000, None)}))
            await kube.create(pod(namespace, "p", owner="llm"))
            await ungated(kube, namespace, "p")
        assert recorder.refused() == []
        assert needs_of(own) <= recorder.needs()
    await kube.delete("v1", "Node", None, f"{namespace}-n")


async def test_the_sweepers_role_is_exactly_what_it_uses(kube, namespace, control_plane, tmp_path):
    own = rules_of(RACKS / "sweeper.yaml")
    token = await kube.create_user(own, namespace=namespace)
    await kube.create(pod(namespace, "p"))
    async with recorded(control_plane) as recorder:
        path = recorder.kubeconfig(tmp_path / "kubeconfig", token, namespace=namespace)
        process = await asyncio.create_subprocess_exec(
            HEADRACE, "sweep", f"--kubeconfig={path}", f"--namespace={namespace}",
            "--gate-seconds=0.5", "--period-seconds=0.2",
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await ungated(kube, namespace, "p")

            async def has_told():
                return Need("", "events", "create") in recorder.needs()

            await eventually(has_told)
        finally:
            process.terminate()
            await process.wait()
        assert recorder.refused() == []
        assert recorder.needs() == needs_of(own)
