"""Everything at once on a real API server: webhook, capper, its death, the sweeper, its return."""

import asyncio

import pytest
from operator_harness import capper, deployment, eventually, install, unique
from racks_harness import (
    HEADRACE,
    RackPlant,
    certificate,
    gates_of,
    get_pod,
    node,
    pod,
    rack_config,
    racks_of_test,
    registration,
    told_of,
    webhook_process,
)

from capper.racks.marks import GATE, OPT_IN_LABEL, RACK_LABEL
from capper.racks.webhook import PATH

HOOKS = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", None)


async def ended_gate(kube, namespace, name):
    async def look():
        found = await get_pod(kube, namespace, name)
        return None if GATE in gates_of(found) else found

    return await eventually(look, seconds=30)


@pytest.mark.usefixtures("needs_real_api_server")
async def test_a_lost_capper_blocks_no_pod(kube, namespace, kubeconfig, tmp_path):
    await install(kube)
    rack_node, hook = f"{namespace}-n", unique("racks")
    await kube.create(node(rack_node, "r1"))
    await kube.create(deployment(namespace, replicas=1))
    await kube.create(rack_config(namespace, {"r1": (10_000, None)}))
    await kube.merge(
        "v1", "Namespace", None, namespace, {"metadata": {"labels": {OPT_IN_LABEL: "enabled"}}}
    )
    path = kubeconfig()
    with certificate(tmp_path) as bundle:
        async with webhook_process(tmp_path) as port:
            url = f"https://127.0.0.1:{port}{PATH}"
            await kube.create(registration(hook, bundle, url, namespace))
            try:
                await chain(kube, namespace, path)
            finally:
                await kube.delete(*HOOKS, hook)
                await kube.delete("v1", "Node", None, rack_node)


async def chain(kube, namespace, path):
    async def is_gated():
        name = unique("probe")
        await kube.create(pod(namespace, name, gated=False))
        found = await get_pod(kube, namespace, name)
        await kube.delete("v1", "Pod", namespace, name)
        return gates_of(found) == [GATE]

    await eventually(is_gated)
    racks = {"make_racks": racks_of_test()}
    async with capper(path, RackPlant({"r1": 1000}), namespace=namespace, **racks):
        await kube.create(pod(namespace, "with", gated=False, owner="llm"))
        found = await ended_gate(kube, namespace, "with")
        assert found["metadata"]["labels"][RACK_LABEL] == "r1"
    # The capper is gone; the webhook goes on gating.
    await kube.create(pod(namespace, "without", gated=False, owner="llm"))
    assert gates_of(await get_pod(kube, namespace, "without")) == [GATE]
    sweeper = await asyncio.create_subprocess_exec(
        HEADRACE, "sweep", f"--kubeconfig={path}", f"--namespace={namespace}",
        "--gate-seconds=2", "--period-seconds=0.2",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        found = await ended_gate(kube, namespace, "without")
        assert RACK_LABEL not in found["metadata"]["labels"]
        await told_of(kube, namespace, "without", "GateSwept")
    finally:
        sweeper.terminate()
        await sweeper.wait()
    async with capper(
        path, RackPlant({"r1": 1000}), namespace=namespace, identity="b", **racks
    ) as back:
        await kube.create(pod(namespace, "again", gated=False, owner="llm"))
        found = await ended_gate(kube, namespace, "again")
        assert found["metadata"]["labels"][RACK_LABEL] == "r1"

        async def both():
            look = back.loop.entries()[f"{namespace}/cap"].racks
            return look.racks and look.racks[0].reserved_watts == 2000.0

        await eventually(both)
