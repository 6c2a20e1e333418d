"""A real `headrace agent` process on a fake NVML, and what it talks to."""

import json
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import nvml_harness
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nvml_harness import FakeBoards

from capper.clocks import pod_resources
from capper.clocks.agent import NodeAgent
from capper.clocks.keeper import KeeperSettings, NodeKeeper
from capper.clocks.messages import Claim, HoldRequest
from capper.clocks.nvml import Nvml
from capper.clocks.pool import AgentPool
from capper.clocks.ramp import Ramp
from capper.clocks.record_file import RecordFile
from capper.clocks.service import ClockAgentService
from capper.proto import serialized
from headrace.agent_access import AgentAccessSection
from telemetry.system_clock import SystemClock

READY_SECONDS = 30.0


class Agent:
    """The agent of one node, in a folder of its own; may be killed and started again."""

    def __init__(self, folder: Path, library: Path, *, boards=2, **config):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.boards = FakeBoards(folder / "boards").make(boards)
        self._environment = self.boards.environment(library)
        self.config = {
            "node": "node-1",
            "record_folder": "record",
            "listen": {"socket": str(folder / "agent.sock")},
            "metrics": {"port": 0},
            "owners": {"llm/chat-0": ["GPU-0"], "llm/chat-1": ["GPU-1"]},
            "beat_seconds": 0.05,
            "ramp": {"up_seconds": 0.1, "down_seconds": 0.05},
            **config,
        }
        self.process = None

    def command(self, *arguments):
        path = self.folder / "agent.yaml"
        path.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        program = [sys.executable, "-m", "headrace.main", "agent", "--config", str(path)]
        return [*program, *arguments]

    def run(self, *arguments):
        """To its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )

    def start(self):
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        log = (self.folder / "agent.log").open("ab")
        self.process = subprocess.Popen(
            self.command("--ready-file", str(ready)), env=self._environment, stdout=log, stderr=log
        )
        log.close()
        until(ready.exists, what=self.log)
        self.ready = json.loads(ready.read_text())
        return self

    def log(self):
        return (self.folder / "agent.log").read_text()

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=10) == 0, self.log()

    def settings(self, index=0):
        return self.boards.settings(index)

    @property
    def address(self):
        return self.ready["address"]


@contextmanager
def running(agent):
    try:
        yield agent.start()
    finally:
        agent.stop()


@asynccontextmanager
async def agent_here(folder, *, node="node-1", kubelet=None, owners=None, shared=()):
    """An agent in this process, on the library that this process has loaded; (agent, address)."""
    settings = KeeperSettings(ramp=Ramp(up_seconds=0.1, down_seconds=0.02), read_back_seconds=0.2)
    folder.mkdir(exist_ok=True)
    clock = SystemClock()
    keeper = NodeKeeper(Nvml(), RecordFile(folder / "record"), clock, time.sleep, settings)
    asked = None
    if kubelet is not None:
        asked = pod_resources.KubeletOwners(kubelet, keeper.board_of_instance)
    agent = NodeAgent(
        keeper,
        clock,
        node=node,
        kubelet=asked,
        declared_owners={uuid: frozenset(names) for uuid, names in (owners or {}).items()},
        declared_shared=frozenset(shared),
        beat_seconds=0.02,
    )
    server = grpc.aio.server()
    service = ClockAgentService(agent, clients=None, max_lease_seconds=3600.0)
    server.add_generic_rpc_handlers((service.handler(),))
    address = f"unix://{folder / 'agent.sock'}"
    server.add_insecure_port(address)
    await agent.start()
    await server.start()
    try:
        yield agent, address
    finally:
        await server.stop(0)
        await agent.stop()


def until(holds, *, what=lambda: "", seconds=READY_SECONDS):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


def pool(*addresses, **section):
    return AgentAccessSection(agents=addresses, **section).pool(SystemClock())


def hold_request(*owners, mega_hertz=1000, watts=300, lease_seconds=30.0, **fields):
    claims = [
        Claim(owner=owner, workload="chat", max_clock_hertz=mega_hertz * 1e6, limit_watts=watts)
        for owner in owners
    ]
    return HoldRequest(holder="llm/cap", claims=claims, lease_seconds=lease_seconds, **fields)


async def held(agents: AgentPool, *owners, **fields):
    """Boards of one reply, by UUID; fails where an agent did not answer."""
    replies, failures = await agents.hold(hold_request(*owners, **fields))
    assert failures == []
    return {one.gpu_uuid: one for reply in replies for one in reply.boards}


class Kubelet:
    """The pod-resources API on a socket, told by the test who has what."""

    def __init__(self, socket: Path):
        self.socket = socket
        self.pods = {}
        self._server = None

    async def __aenter__(self):
        self._server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(
            self._list,
            request_deserializer=pod_resources.Request.FromString,
            response_serializer=serialized,
        )
        handler = grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": method})
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix://{self.socket}")
        await self._server.start()
        return self

    async def __aexit__(self, *_):
        await self._server.stop(0)

    async def _list(self, _request, _context):
        return pod_resources.Response(
            pod_resources=[
                {
                    "namespace": pod.split("/")[0],
                    "name": pod.split("/")[1],
                    "containers": [
                        {"devices": [{"resource_name": "nvidia.com/gpu", "device_ids": devices}]},
                        {"devices": [{"resource_name": "example.com/nic", "device_ids": ["x"]}]},
                    ],
                }
                for pod, devices in self.pods.items()
            ]
        )


class Authority:
    """Signs certificates into folders as a Secret has them."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.certificate = self._signed(self._name, self._key.public_key(), None)

    def issue(self, folder: Path, name: str) -> Path:
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), name)
        encoded = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for file, content in (
            ("tls.key", encoded),
            ("tls.crt", pem(certificate)),
            ("ca.crt", pem(self.certificate)),
        ):
            (folder / file).write_bytes(content)
        return folder

    def _signed(self, subject, public_key, name):
        now = datetime.fromtimestamp(SystemClock().epoch_seconds(), UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name is None, path_length=None), critical=True)
        )
        if name is not None:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def build_library(tmp_path_factory):
    return nvml_harness.build(tmp_path_factory.mktemp("nvml"))
