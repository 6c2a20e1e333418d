"""Real vLLMs on CPU: installed once into a cache folder, started once per session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(os.environ.get("HEADRACE_TOOLS", ROOT.parent / "shared" / "tools"))
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
