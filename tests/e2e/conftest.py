"""Real vLLMs on CPU: installed once into a cache folder, started once per session."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml

from headrace.child_process import end, spawn
from headrace.demo.lane import Lane, LanePlan

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("HEADRACE_TOOLS", ROOT.parent / "shared" / "tools"))
START_SECONDS = 300
MODEL = "tiny"
CACHE = Path(os.environ.get("HEADRACE_CACHE", ROOT / ".cache")) / "vllm"


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-vllm"):
        return
    skip = pytest.mark.skip(reason="needs real vLLMs: make test-vllm (2.5 GB)")
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(skip)


def say(text):
    print(text, file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session")
def vllm_tools():
    """The folder with the scripts that install and serve vLLM."""
    assert TOOLS.is_dir(), f"{TOOLS} is missing: set HEADRACE_TOOLS"
    return TOOLS


@pytest.fixture(scope="session")
def vllm_venv(vllm_tools):
    """A virtual environment with vLLM for CPU."""
    venv = CACHE / "venv"
    if not (venv / "bin" / "vllm").exists():
        say(f"\ninstalling vLLM for CPU into {venv} (about 2 minutes, 2.5 GB)")
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["bash", vllm_tools / "install_vllm.sh", venv], check=True)
    return venv


@pytest.fixture(scope="session")
def tiny_model(vllm_tools, vllm_venv):
    """A model of 2 layers with random weights and a tokenizer made on this machine."""
    folder = CACHE / "tiny"
    if not (folder / "config.json").exists():
        subprocess.run(
            [vllm_venv / "bin" / "python", vllm_tools / "make_tiny_model.py", folder], check=True
        )
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def answers(url, *, deadline_seconds=START_SECONDS):
    async with asyncio.timeout(deadline_seconds), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(0.5)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllms(vllm_tools, vllm_venv, tiny_model, tmp_path_factory):
    """Two vLLMs; their addresses."""
    folder = tmp_path_factory.mktemp("vllm")
    ports = [free_port(), free_port()]
    processes = []
    try:
        for port in ports:
            arguments = [vllm_tools / "serve_vllm.sh", vllm_venv, tiny_model, port, MODEL]
            process = await spawn(
                Path("/bin/bash"), [str(a) for a in arguments], log_path=folder / f"{port}.log"
            )
            processes.append(process)
        await asyncio.gather(*(answers(f"http://127.0.0.1:{port}/health") for port in ports))
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        await asyncio.gather(*(end(process, grace_seconds=20) for process in processes))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lane(vllms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lane")
    fleet = {
        "backends": [
            {
                "name": "cpu",
                "accelerator": "CPU",
                "parameters": 1e7,
                "models": [MODEL],
                "max_running_requests": 16,
                "profile": {
                    "step": {
                        "base_seconds": 0.004,
                        "per_request_seconds": 0.0003,
                        "per_kv_token_seconds": 0,
                        "per_prompt_token_seconds": 2e-5,
                    },
                    "power": {
                        "idle_watts": 20,
                        "floor_watts": 40,
                        "span_watts": 10,
                        "prefill_watts": 50,
                    },
                    "kv_capacity_tokens": 262144,
                },
                "replicas": [{"address": address} for address in vllms],
            }
        ]
    }
    fleet_path = folder / "fleet.yaml"
    fleet_path.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    async with Lane(LanePlan(fleet_path=fleet_path, folder=folder / "lane")) as lane:
        yield lane
