"""`headrace` with the arguments of the reference picker: a process against an API server."""

import asyncio
import os
import signal
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from extproc_harness import SERVING, open_stream, request_body, request_headers
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kube_objects import inference_pool, ready_pod
from kube_replicas import open_replicas
from telemetry_harness import free_port, until

HEADRACE = Path(sys.executable).parent / "headrace"
DESTINATION = "x-gateway-destination-endpoint"
FULL_DUPLEX_STREAMED = 4


class Picker:
    """The process and the ports it was given."""

    def __init__(self):
        self.grpc_port, self.health_port, self.metrics_port = (free_port() for _ in range(3))

    @property
    def arguments(self):
        """As KServe's scheduler template gives them, ports and namespace aside."""
        return [
            *("--pool-name", "pool", "--zap-encoder", "json", "-v", "2"),
            *("--grpc-port", str(self.grpc_port), "--grpc-health-port", str(self.health_port)),
            *("-metricsPort", str(self.metrics_port), "--host=127.0.0.1"),
            *("--kv-cache-usage-percentage-metric", "vllm:kv_cache_usage_perc"),
        ]

    async def is_ready(self):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.health_port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            service = "envoy.service.ext_proc.v3.ExternalProcessor"
            try:
                reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
            except grpc.aio.AioRpcError:
                return False
            return reply.status == SERVING

    @asynccontextmanager
    async def stream(self):
        """A stream over TLS; the certificate is the one that the picker made for itself."""
        address = ("127.0.0.1", self.grpc_port)
        made = await asyncio.to_thread(ssl.get_server_certificate, address)
        credentials = grpc.ssl_channel_credentials(made.encode())
        target = f"localhost:{self.grpc_port}"
        async with grpc.aio.secure_channel(target, credentials) as channel:
            yield open_stream(channel)


@asynccontextmanager
async def started(arguments, **environment):
    process = await asyncio.create_subprocess_exec(
        HEADRACE,
        *arguments,
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.mark.parametrize("workers", [1, 2])
async def test_only_the_image_changes(kube, namespace, kubeconfig, workers):
    await kube.install_crds("gie")
    async with open_replicas() as replicas:
        await kube.create(inference_pool(namespace, "pool", {"app": "llama"}, (replicas.port,)))
        addresses = set()
        for number in (1, 2):
            ip = await replicas.open(number)
            pod = ready_pod(namespace, f"p{number}", ip, labels={"app": "llama"}, node="n1")
            await kube.add_pod(pod)
            addresses.add(f"{ip}:{replicas.port}")

        picker = Picker()
        environment = {"NAMESPACE": namespace, "KUBECONFIG": str(kubeconfig())}
        arguments = [*picker.arguments, f"--workers={workers}"]
        async with started(arguments, **environment) as process:
            await until(picker.is_ready, seconds=30)
            for _ in range(4 * workers):  # connections, which workers share out
                async with picker.stream() as stream:
                    await stream.write(request_headers(mode=FULL_DUPLEX_STREAMED))
                    await stream.write(request_body(model="llama-8b"))
                    reply = await stream.read()
                picked = reply.dynamic_metadata["envoy.lb"][DESTINATION]
                assert set(picked.split(",")) == addresses
            process.send_signal(signal.SIGTERM)
            _, said = await process.communicate()
        assert process.returncode == 0
        assert b"--zap-encoder has no effect" in said


async def test_without_a_cluster_it_says_so_in_one_sentence(tmp_path):
    broken = tmp_path / "kubeconfig"
    broken.write_text("{}")
    async with started(Picker().arguments, KUBECONFIG=str(broken)) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith(b"Kubernetes: no usable configuration")


async def test_without_a_pool_nothing_is_started():
    async with started(["--grpc-port", "1"]) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    assert said == b"epp: give --pool-name or --endpoint-selector, one of them.\n"
