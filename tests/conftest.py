"""Settings and fixtures that several tiers share."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Builders are plain functions in tests/builders.py; importlib mode puts no folder on the path.
sys.path.insert(0, str(Path(__file__).parent))

import nvml_harness
from control_plane_assets import described

# Speed is never asserted here: a busy machine must not turn into a failing property.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


def pytest_addoption(parser):
    parser.addoption("--run-vllm", action="store_true", help="run the tests on real vLLMs")


@pytest.fixture(scope="session")
def _nvml(tmp_path_factory):
    nvml_harness.load(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def boards(_nvml, request, tmp_path, monkeypatch):
    """As many boards as the test's module says in BOARDS, else two."""
    made = nvml_harness.FakeBoards(tmp_path / "boards").make(getattr(request.module, "BOARDS", 2))
    monkeypatch.setenv("HEADRACE_FAKE_NVML", str(made.folder))
    return made


def pytest_terminal_summary(terminalreporter):
    """Say what the run stood on: a green run without these proves less."""
    terminalreporter.write_line(f"Prometheus: {_prometheus()}")
    terminalreporter.write_line(f"Kubernetes control plane: {described()}")


def _prometheus():
    binary = shutil.which("prometheus")
    if binary is None:
        return "none on PATH, its tests were skipped"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    version = (said.stdout + said.stderr).partition(" (")[0].removeprefix("prometheus, version ")
    return f"{version} ({binary})"
