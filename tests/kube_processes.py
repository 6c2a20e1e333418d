"""Starts a control plane and ends it, for tests/cluster/conftest.py and the line of the summary."""

import asyncio
import contextlib
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from control_plane_assets import IN_MEMORY_VERSION, assets, described
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kube_api.server import Server, serving
from kube_cluster import ADMIN_TOKEN, ControlPlane, tokens
from telemetry_harness import free_port

_START_SECONDS = 60.0


@contextlib.contextmanager
def control_plane():
    """The real one where its binaries are, else the in-memory one."""
    folder = assets()
    with real_control_plane(folder) if folder else in_memory_control_plane() as plane:
        yield plane


@contextlib.contextmanager
def in_memory_control_plane():
    """The in-memory API server in a thread of its own."""
    server, started, loop = Server(tokens()), threading.Event(), asyncio.new_event_loop()
    ending, found = asyncio.Event(), {}

    async def run():
        async with serving(server) as port:
            found["port"] = port
            started.set()
            await ending.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # watches that clients left open
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield ControlPlane(
            "in-memory",
            IN_MEMORY_VERSION,
            found["port"],
            None,
            lambda: loop.call_soon_threadsafe(server.store.compact),
        )
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def real_control_plane(folder):
    """etcd and kube-apiserver on loopback, with RBAC, ended by their process ids."""
    with tempfile.TemporaryDirectory(prefix="headrace-cluster-") as name:
        work = Path(name)
        client, peer, port = free_port(), free_port(), free_port()
        etcd = _spawn(work, "etcd", _etcd_command(folder, work, client, peer))
        try:
            command = _api_server_command(folder, work, client, port)
            api_server = _spawn(work, "kube-apiserver", command)
            try:
                ca_file = work / "certificates" / "apiserver.crt"
                _await_ready(api_server, port, work)
                yield ControlPlane("kube-apiserver", described(), port, ca_file, lambda: None)
            finally:
                _end(api_server)
        finally:
            _end(etcd)


def _etcd_command(folder, work, client, peer):
    urls = [f"http://127.0.0.1:{port}" for port in (client, peer)]
    return [
        folder / "etcd",
        f"--data-dir={work / 'etcd'}",
        f"--listen-client-urls={urls[0]}",
        f"--advertise-client-urls={urls[0]}",
        f"--listen-peer-urls={urls[1]}",
        f"--initial-advertise-peer-urls={urls[1]}",
        f"--initial-cluster=default={urls[1]}",
        "--unsafe-no-fsync",
    ]


def _api_server_command(folder, work, etcd_port, port):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (work / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    lines = [
        f'{token},{user},{user},"{",".join(groups)}"' for token, (user, groups) in tokens().items()
    ]
    (work / "tokens.csv").write_text("\n".join(lines), encoding="utf-8")
    return [
        folder / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={work / 'certificates'}",
        f"--service-account-key-file={work / 'sa.key'}",
        f"--service-account-signing-key-file={work / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/24",
        f"--token-auth-file={work / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        # Nothing here makes default service accounts, which its plugin would wait for.
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
    ]


def _spawn(work, name, command):
    log = (work / f"{name}.log").open("wb")
    with log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _await_ready(process, port, work):
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
    )
    context = ssl._create_unverified_context()
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(request, context=context, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    tail = (work / "kube-apiserver.log").read_text(errors="replace")[-2000:]
    raise AssertionError(f"kube-apiserver did not get ready:\n{tail}")


def _end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
