"""`headrace serve` itself places a pod: watts from Prometheus, the choice, status and metrics."""

import asyncio
import json
import signal

import aiohttp
import pytest
import yaml
from operator_harness import condition, deployment, eventually, install, status_of
from racks_harness import HEADRACE, gates_of, get_pod, node, pod, rack_config, told_of
from telemetry_harness import PrometheusServer, exporters, free_port

from capper.racks.marks import RACK_LABEL

pytestmark = pytest.mark.prometheus
FLEET = {
    "backends": [
        {
            "name": "llm",
            "accelerator": "H100",
            "parameters": 8e9,
            "models": ["m"],
            "replicas": [{"address": f"127.0.0.1:{free_port()}"}],
        }
    ]
}


def write_settings(folder, namespace, kubeconfig):
    (folder / "fleet.yaml").write_text(yaml.safe_dump(FLEET), encoding="utf-8")
    cluster = {
        "kubeconfig": str(kubeconfig),
        "namespaces": [namespace],
        "lease_namespace": namespace,
    }
    serve = {
        "fleet": "fleet.yaml",
        "ext_proc": {"host": "127.0.0.1", "port": 0, "drain_seconds": 0},
        "admin": {"port": 0},
        "capper": {"kubernetes": cluster, "period_seconds": 0.5},
    }
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(serve), encoding="utf-8")
    return path


def configuration(namespace, url):
    def metric(query, domain=None):
        asked = {"query": query, "prometheusAddress": url}
        return asked if domain is None else {**asked, "domain": domain}

    racks = [metric(f'rack_w{{rack="{name}"}}', name) for name in ("r1", "r2")]
    document = rack_config(
        namespace,
        {"r1": (10_000, None), "r2": (10_000, None)},
        placement={"wattsPerReplica": 1500, "gateSeconds": 20},
    )
    document["spec"]["metrics"] = [metric("sum(rack_w)"), *racks]
    return document


async def metrics_of(address):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/metrics") as answer,
    ):
        return await answer.text()


async def test_a_served_capper_places_a_pod(kube, namespace, kubeconfig, tmp_path):
    await install(kube)
    for rack in ("r1", "r2"):
        await kube.create(node(f"{namespace}-{rack}", rack))
    await kube.create(deployment(namespace, replicas=1))
    async with exporters(1) as (exporter,):
        exporter.expose('rack_w{rack="r1"} 6000', 'rack_w{rack="r2"} 3000')
        server = PrometheusServer(tmp_path, {"all": ([exporter.address], {})})
        await server.start()
        ready = tmp_path / "ready.json"
        process = await asyncio.create_subprocess_exec(
            HEADRACE, "serve", f"--ready-file={ready}",
            f"--config={write_settings(tmp_path, namespace, kubeconfig())}",
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await kube.create(configuration(namespace, server.url))
            await placed(kube, namespace, ready)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, said = await process.communicate()
            await server.stop()
            for rack in ("r1", "r2"):
                await kube.delete("v1", "Node", None, f"{namespace}-{rack}")
    assert process.returncode == 0, said.decode()
    assert b"Traceback" not in said


async def placed(kube, namespace, ready):
    async def is_ready():
        said = condition(await status_of(kube, namespace), "PlacementReady")
        return said and said["status"] == "True"

    await eventually(is_ready, seconds=60)
    await kube.create(pod(namespace, "p", owner="other"))

    async def ungated():
        found = await get_pod(kube, namespace, "p")
        return None if gates_of(found) else found

    found = await eventually(ungated, seconds=30)
    assert found["metadata"]["labels"][RACK_LABEL] == "r2"
    assert "1500 W are reserved" in await told_of(kube, namespace, "p", "RackChosen")
    address = f"127.0.0.1:{json.loads(ready.read_text())['admin_port']}"

    async def counted():
        text = await metrics_of(address)
        wanted = (
            f'capper_placements_total{{config="{namespace}/cap",rack="r2"}} 1.0',
            f'capper_rack_reserved_watts{{config="{namespace}/cap",rack="r2"}} 1500.0',
            'capper_gate_seconds_count{how="placed"} 1.0',
        )
        return all(line in text for line in wanted)

    await eventually(counted)
