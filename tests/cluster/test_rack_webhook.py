"""The webhook registered in a real API server, and the sweeper that outlives the capper."""

import asyncio
import sys
from pathlib import Path

import pytest
from kube_cluster import KubeError
from operator_harness import eventually, unique
from racks_harness import (
    HEADRACE,
    certificate,
    events_of,
    gates_of,
    get_pod,
    pod,
    registration,
    webhook_process,
)

from capper.racks.marks import GATE, OPT_IN_LABEL
from capper.racks.webhook import PATH

HOOKS = ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", None)


async def opt_in(kube, namespace):
    await kube.merge(
        "v1", "Namespace", None, namespace, {"metadata": {"labels": {OPT_IN_LABEL: "enabled"}}}
    )


async def eventually_gated(kube, namespace, *, gated):
    """The API server reads a new registration after a moment."""

    async def seen():
        probe = unique("probe")
        await kube.create(pod(namespace, probe, gated=False))
        found = await get_pod(kube, namespace, probe)
        await kube.delete("v1", "Pod", namespace, probe)
        return (gates_of(found) == [GATE]) is gated

    await eventually(seen)


@pytest.fixture
async def gating(kube, namespace, tmp_path):
    """A namespace in which the webhook is in force; gives its port and how it is ended."""
    await opt_in(kube, namespace)
    name = unique("racks")
    with certificate(tmp_path) as bundle:
        async with webhook_process(tmp_path) as port:
            url = f"https://127.0.0.1:{port}{PATH}"
            await kube.create(registration(name, bundle, url, namespace))
            try:
                await eventually_gated(kube, namespace, gated=True)
                yield kube
            finally:
                await kube.delete(*HOOKS, name)


@pytest.mark.usefixtures("needs_real_api_server", "gating")
async def test_the_api_server_gates_pods_of_a_namespace_that_opted_in(namespace, kube):
    await kube.create(pod(namespace, "plain", gated=False))
    assert gates_of(await get_pod(kube, namespace, "plain")) == [GATE]
    others = {"schedulingGates": [{"name": "example.com/other"}]}
    await kube.create(pod(namespace, "other", gated=False, **others))
    assert gates_of(await get_pod(kube, namespace, "other")) == ["example.com/other", GATE]
    await kube.create(pod(namespace, "out", gated=False, labels={OPT_IN_LABEL: "disabled"}))
    assert gates_of(await get_pod(kube, namespace, "out")) == []
    await kube.create(pod(namespace, "bound", gated=False, nodeName="n"))
    assert gates_of(await get_pod(kube, namespace, "bound")) == []
    await kube.merge("v1", "Pod", namespace, "plain", {"metadata": {"labels": {"a": "b"}}})
    assert gates_of(await get_pod(kube, namespace, "plain")) == [GATE]


@pytest.mark.usefixtures("needs_real_api_server")
async def test_without_the_webhook_pods_are_created_as_they_are(kube, namespace, tmp_path):
    await opt_in(kube, namespace)
    name = unique("racks")
    with certificate(tmp_path) as bundle:
        async with webhook_process(tmp_path) as port:
            url = f"https://127.0.0.1:{port}{PATH}"
            await kube.create(registration(name, bundle, url, namespace))
            await eventually_gated(kube, namespace, gated=True)
        try:  # its process has ended, the registration stays
            await kube.create(pod(namespace, "late", gated=False))
            assert gates_of(await get_pod(kube, namespace, "late")) == []
        finally:
            await kube.delete(*HOOKS, name)


async def sweep(kubeconfig, *options):
    process = await asyncio.create_subprocess_exec(
        HEADRACE, "sweep", f"--kubeconfig={kubeconfig}", *options,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    return process.returncode, said.decode()


RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]


async def test_the_sweeper_lifts_old_gates_and_no_others(kube, namespace, kubeconfig):
    other = {"schedulingGates": [{"name": "example.com/other"}, {"name": GATE}]}
    await kube.create(pod(namespace, "old"))
    await kube.create(pod(namespace, "both", gated=False, **other))
    token = await kube.create_user(RULES, namespace=namespace)
    file = kubeconfig(token, namespace=namespace)
    young = f"--namespace={namespace}", "--once", "--gate-seconds=3600"
    assert (await sweep(file, *young))[0] == 0
    assert gates_of(await get_pod(kube, namespace, "old")) == [GATE]
    await asyncio.sleep(1.1)  # creation times are whole seconds
    code, said = await sweep(file, f"--namespace={namespace}", "--once", "--gate-seconds=1")
    assert code == 0, said
    assert "2 gates lifted" in said
    found = await get_pod(kube, namespace, "old")
    assert gates_of(found) == []
    assert "affinity" not in found["spec"]
    assert gates_of(await get_pod(kube, namespace, "both")) == ["example.com/other"]
    assert [reason for reason, _ in await events_of(kube, namespace, "old")] == ["GateSwept"]


async def test_a_sweeper_without_an_api_server_says_so_once_and_goes_on(
    kube, namespace, kubeconfig, door
):
    file = kubeconfig(namespace=namespace)
    await door.shut()
    code, said = await sweep(file, "--once")
    assert code == 1
    assert said.count("cannot be reached") == 1
    process = await asyncio.create_subprocess_exec(
        HEADRACE, "sweep", f"--kubeconfig={file}", f"--namespace={namespace}",
        "--gate-seconds=1", "--period-seconds=0.1",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await kube.create(pod(namespace, "waits"))
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        assert b"a sweep ended early" in line
        await door.open()

        async def lifted():
            return not gates_of(await get_pod(kube, namespace, "waits"))

        await eventually(lifted)
    finally:
        process.terminate()
        rest = await process.stderr.read()
        assert await process.wait() == 0
    assert b"a sweep ended early" not in rest


async def test_a_pod_that_is_another_one_by_now_is_left_alone(kube, namespace):
    """The patch names the uid: the API server refuses it for a successor of the same name."""
    await kube.create(pod(namespace, "same"))
    patch = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "spec": {}}
    with pytest.raises(KubeError) as refused:
        await kube.merge("v1", "Pod", namespace, "same", patch)
    assert refused.value.code == 422


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("webhook", "--cert-dir=/nowhere"), "webhook: --cert-dir: /nowhere/tls.crt and"),
        (("sweep", "--kubeconfig=/nowhere", "--once"), "sweep: Kubernetes: no usable"),
        (("sweep", "--gate-seconds=0"), "0 must be above 0"),
    ],
)
async def test_bad_input_is_one_sentence_and_exit_2(arguments, said):
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "headrace", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    assert process.returncode == 2
    assert said in told.decode()
