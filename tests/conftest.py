"""Settings and fixtures that several tiers share."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Builders are plain functions in tests/builders.py; importlib mode puts no folder on the path.
sys.path.insert(0, str(Path(__file__).parent))

# Speed is never asserted here: a busy machine must not turn into a failing property.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


def pytest_addoption(parser):
    parser.addoption("--run-vllm", action="store_true", help="run the tests on real vLLMs")
