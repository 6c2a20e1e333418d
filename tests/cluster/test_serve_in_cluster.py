"""`headrace serve` as a process whose fleet is a cluster's."""

import asyncio
import json
import re
import signal
import sys

import yaml
from kube_discovery import until
from kube_objects import inference_pool, ready_pod
from kube_replicas import open_replicas


def serve_file(tmp_path, namespace, kubeconfig, **changes):
    path = tmp_path / "serve.yaml"
    target = {"kind": "InferencePool", "namespace": namespace, "name": "pool"}
    document = {
        "kubernetes": {"kubeconfig": str(kubeconfig), "targets": [target], **changes},
        "ext_proc": {"port": 0},
        "admin": {"port": 0},
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


async def started(tmp_path, *arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace.main",
        "serve",
        "--ready-file",
        str(tmp_path / "ready.json"),
        *map(str, arguments),
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process):
    async with asyncio.timeout(30):
        _out, err = await process.communicate()
    return process.returncode, err.decode()


async def test_the_process_serves_the_pods_of_a_pool(kube, namespace, kubeconfig, tmp_path):
    await kube.install_crds("gie")
    async with open_replicas() as replicas:
        await kube.create(inference_pool(namespace, "pool", {"app": "llama"}, (replicas.port,)))
        ip = await replicas.open(1)
        await kube.add_pod(ready_pod(namespace, "p1", ip, labels={"app": "llama"}))
        config = serve_file(tmp_path, namespace, kubeconfig())
        process = await started(tmp_path, "--config", config)
        await until((tmp_path / "ready.json").exists, seconds=60)
        ready = json.loads((tmp_path / "ready.json").read_text(encoding="utf-8"))
        assert ready["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        code, err = await ended(process)
    assert code == 0, err
    assert "Traceback" not in err


async def test_without_an_api_server_it_gives_up_with_the_reason(
    namespace, kubeconfig, door, tmp_path
):
    config = serve_file(tmp_path, namespace, kubeconfig(), start_timeout_seconds=1.0)
    await door.shut()
    code, err = await ended(await started(tmp_path, "--config", config))
    assert code == 2, err
    assert "Kubernetes: no view within 1 s. The API server gives no answer for" in err
    assert "Traceback" not in err


async def test_it_can_be_stopped_while_it_waits_for_the_api_server(namespace, kubeconfig, tmp_path):
    connected, hanging = asyncio.Event(), []

    async def hang(reader, writer):
        hanging.append(asyncio.current_task())
        connected.set()
        await reader.read()  # up to the end of the process
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        path = kubeconfig()
        port = silent.sockets[0].getsockname()[1]
        path.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", path.read_text()))
        process = await started(tmp_path, "--config", serve_file(tmp_path, namespace, path))
        async with asyncio.timeout(60):
            await connected.wait()
        process.send_signal(signal.SIGTERM)
        code, err = await ended(process)
        await asyncio.gather(*hanging)
    assert code == 0, err
    assert "Traceback" not in err
