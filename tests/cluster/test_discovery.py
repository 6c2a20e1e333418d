"""Discovery against an API server: what happens there is in the view soon after."""

import asyncio
from pathlib import Path

import pytest
import yaml
from kube_discovery import discovering, pool_settings, settings_for, until
from kube_objects import (
    endpoint_slice,
    inference_pool,
    model_rewrite,
    node,
    objective,
    ready_pod,
)
from kube_replicas import open_replicas

from telemetry.fleet_source import FleetSourceError
from telemetry.kubernetes.settings import Target, TargetKind

LABELS = {"app": "llama", "pod-template-hash": "6c9f"}
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "discovery.md").read_text(encoding="utf-8")
RULES = yaml.safe_load(DOCUMENTED.split("### Rights")[1].split("```")[1].removeprefix("yaml"))[
    "rules"
]
NODELESS = [{**RULES[0], "resources": ["pods", "services"]}, *RULES[1:]]
NODES_ONLY = [{**RULES[0], "resources": ["nodes"]}]


@pytest.fixture
async def replicas():
    async with open_replicas() as opened:
        yield opened


@pytest.fixture
async def pool(kube, namespace, replicas):
    """An InferencePool without pods; gives a function that adds one."""
    await kube.install_crds("gie")
    await kube.create(inference_pool(namespace, "pool", {"app": "llama"}, (replicas.port,)))

    async def add(number, **changes):
        ip = await replicas.open(number)
        pod = ready_pod(namespace, f"p{number}", ip, **{"labels": LABELS, "node": "n1", **changes})
        await kube.add_pod(pod)
        return f"{ip}:{replicas.port}"

    return add


async def test_pods_come_and_go_and_drain(kube, namespace, kubeconfig, pool):
    first = await pool(1)
    async with discovering(pool_settings(kubeconfig(), namespace)) as found:
        assert found.addresses() == {first}
        assert found.view().served[first].base == ("llama-8b",)
        assert found.metric("current") == 1.0

        second = await pool(2)
        await until(lambda: found.addresses() == {first, second})

        await kube.delete("v1", "Pod", namespace, "p1")
        await until(lambda: found.addresses() == {second})
        terminating = await kube.get("v1", "Pod", namespace, "p1")
        assert terminating["metadata"]["deletionTimestamp"]

        pod = await kube.get("v1", "Pod", namespace, "p2")
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
        await kube.set_status(pod)
        await until(lambda: found.addresses() == set())
        assert found.view().absent_models == ("llama-8b",)
        assert found.metric("replicas") == 0.0


async def test_the_pool_itself_may_change_or_come_later(kube, namespace, kubeconfig, replicas):
    await kube.install_crds("gie")
    async with discovering(pool_settings(kubeconfig(), namespace)) as found:
        assert found.view().problems == (f"InferencePool {namespace}/pool does not exist.",)
        assert found.metric("problems") == 1.0
        ip = await replicas.open(1)
        await kube.add_pod(ready_pod(namespace, "p1", ip, labels=LABELS))
        await kube.create(inference_pool(namespace, "pool", {"app": "else"}, (replicas.port,)))
        await until(lambda: found.view().problems == ())
        assert found.addresses() == set()
        selector = {"spec": {"selector": {"matchLabels": {"app": "llama"}}}}
        kind = ("inference.networking.k8s.io/v1", "InferencePool", namespace, "pool")
        await kube.merge(*kind, {"spec": {"selector": {"matchLabels": None}}} | selector)
        await until(lambda: found.addresses() == {f"{ip}:{replicas.port}"})


async def test_node_labels_tell_hardware_and_rack(kube, namespace, kubeconfig, pool):
    name = f"node-{namespace}"
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "rack": "r1"}
    await kube.create(node(name, labels))
    await pool(1, node=name, gpus=2)
    settings = pool_settings(kubeconfig(), namespace, rack_label="rack")
    async with discovering(settings) as found:
        backend = found.view().fleet.backends[0]
        assert (backend.accelerator, backend.gpus_per_replica) == ("A100", 2)
        assert backend.name == f"{namespace}/llama"
        assert backend.replicas[0].domain == "r1"
        await kube.merge("v1", "Node", None, name, {"metadata": {"labels": {"rack": "r2"}}})
        await until(lambda: found.view().fleet.backends[0].replicas[0].domain == "r2")


async def test_policies_are_read_when_their_crds_appear(kube, namespace, kubeconfig, pool):
    for plural in ("inferenceobjectives", "inferencemodelrewrites"):
        await kube.uninstall_crd(f"{plural}.llm-d.ai")
    first = await pool(1)
    async with discovering(pool_settings(kubeconfig(), namespace)) as found:
        assert found.addresses() == {first}
        assert (found.view().priorities, found.view().rewrites) == ({}, ())
        assert found.state().current
        await kube.install_crds("llm-d-router")
        await kube.create(objective(namespace, "batch", "pool", -5))
        await kube.create(model_rewrite(namespace, "r", "pool", [(["gpt"], [("llama-8b", 1)])]))
        await until(lambda: found.view().priorities == {"batch": -5} and found.view().rewrites)
        assert found.view().rewrites[0].models == {"gpt"}
        await kube.uninstall_crd("inferenceobjectives.llm-d.ai")
        await until(lambda: found.view().priorities == {})


async def test_adapters_that_are_loaded_later_are_served(namespace, kubeconfig, pool, replicas):
    await pool(1)
    async with discovering(pool_settings(kubeconfig(), namespace)) as found:
        assert found.view().fleet.models() == ("llama-8b",)
        replicas.adapters = ("sql",)
        await until(lambda: found.view().fleet.models() == ("llama-8b", "sql"))


async def test_without_the_api_server_the_last_view_stays(
    kube, namespace, kubeconfig, pool, door, control_plane
):
    first = await pool(1)
    async with discovering(pool_settings(kubeconfig(), namespace)) as found:
        await door.shut()
        await until(lambda: not found.state().current)
        said = found.state()
        assert said.detail.startswith("The fleet is served as last seen. The API server gives no")
        assert found.metric("current") == 0.0
        assert found.metric("failures_total", resource="pods", reason="unreachable") >= 1.0

        second = await pool(2)
        await kube.delete("v1", "Pod", namespace, "p1", grace_seconds=0)
        control_plane.compact()  # in memory: what was missed can no longer be watched
        await asyncio.sleep(0.5)
        assert found.addresses() == {first}
        assert len(found.views) == 1
        assert found.state().age_seconds > 0.4

        await door.open()
        opened_seconds = asyncio.get_running_loop().time()
        await until(lambda: found.addresses() == {second})
        await until(lambda: found.state().current)
        # Every list has been confirmed since then.
        now = asyncio.get_running_loop().time
        await until(lambda: found.state().age_seconds < now() - opened_seconds)


async def test_endpoint_slices_and_plain_selectors(kube, namespace, kubeconfig, replicas):
    ip = await replicas.open(1)
    await kube.add_pod(ready_pod(namespace, "p1", ip, labels=LABELS))
    await kube.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": namespace, "name": "llama"},
            "spec": {"selector": {"app": "llama"}, "ports": [{"port": 80}]},
        }
    )
    # The API server takes no loopback address in a slice: this one is never asked.
    pieces = endpoint_slice(
        namespace, "llama-1", "llama", [("10.1.2.3", "p9", {"ready": True})], ports=((None, 8000),)
    )
    await kube.create(pieces)
    service = Target(kind=TargetKind.SERVICE, namespace=namespace, name="llama")
    async with discovering(settings_for(kubeconfig(), service, models=("m",))) as found:
        assert found.addresses() == {"10.1.2.3:8000"}
        pieces["endpoints"][0]["conditions"] = {"ready": False}
        await kube.merge(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            namespace,
            "llama-1",
            {"endpoints": pieces["endpoints"]},
        )
        await until(lambda: found.addresses() == set())
    chosen = Target(
        kind=TargetKind.SELECTOR,
        namespace=namespace,
        match_labels={"app": "llama"},
        ports=(replicas.port,),
    )
    async with discovering(settings_for(kubeconfig(), chosen)) as found:
        assert found.addresses() == {f"{ip}:{replicas.port}"}


async def test_the_documented_role_is_enough_and_less_is_said(kube, namespace, kubeconfig, pool):
    await kube.install_crds("llm-d-router")
    first = await pool(1)
    for rules in (RULES, NODELESS):
        token = await kube.create_user(rules)
        async with discovering(pool_settings(kubeconfig(token), namespace)) as found:
            await until(lambda found=found: found.addresses() == {first})
            assert found.state().current
            name = "with" if rules is RULES else "without"
            await kube.create(objective(namespace, name, "pool", 1))
            await until(lambda found=found, name=name: name in found.view().priorities)
            refused = found.metric("failures_total", resource="nodes", reason="http_403")
            assert (refused is None) is (rules is RULES)
    token = await kube.create_user(NODES_ONLY)
    settings = pool_settings(kubeconfig(token), namespace, start_timeout_seconds=1.0)
    with pytest.raises(FleetSourceError, match=r"no view within 1 s\. .* 403 .*cannot list"):
        async with discovering(settings):
            raise AssertionError("started")


async def test_no_usable_kubeconfig_is_said(tmp_path):
    with pytest.raises(FleetSourceError, match=r"^Kubernetes: no usable configuration"):
        async with discovering(pool_settings(tmp_path / "none.yaml", "default")):
            raise AssertionError("started")
