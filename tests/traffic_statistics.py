"""Statistics of arrivals, and the recorded traces that drawn ones are compared with."""

import itertools
import os
from pathlib import Path

import pytest

from loadtest.traces.opening import open_trace

DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[2] / "shared" / "data")


def azure_trace(name):
    """All arrivals of one of Azure's traces of 2023; skips by name where there is none."""
    path = DATA / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{name}.csv"
    if not path.is_file():
        pytest.skip(f"the generator is NOT compared with its source: no {path} (set HEADRACE_DATA)")
    return list(open_trace(path, model="m"))


def mean(values):
    return sum(values) / len(values)


def gaps(arrivals):
    return [b.at_seconds - a.at_seconds for a, b in itertools.pairwise(arrivals)]


def excess_variance(arrivals, *, window_seconds):
    """Variance of the counts beyond a Poisson process, over the mean squared."""
    counts = [0] * int(arrivals[-1].at_seconds // window_seconds)
    for arrival in arrivals:
        position = int(arrival.at_seconds // window_seconds)
        if position < len(counts):
            counts[position] += 1
    centre = mean(counts)
    return (mean([(count - centre) ** 2 for count in counts]) - centre) / centre**2
