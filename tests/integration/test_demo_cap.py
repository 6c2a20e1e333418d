"""The demo's cap step, short: router and capper in one process, real Envoy, a simulated fleet."""

import io
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from headrace.demo.arm import ArmPlan, run_arm
from headrace.demo.cap_plan import CapSchedule
from headrace.demo.layout import FLOORS, MODEL_WEIGHTS
from headrace.demo.report import Inputs, report
from headrace.demo.tables import print_cap_step
from loadtest.arrivals import azure_like

pytestmark = pytest.mark.envoy

SCHEDULE = CapSchedule(
    measure_seconds=3.0, step_seconds=4.5, reaction_seconds=14.0, watch_seconds=4.0
)
RATE = 6.0
REQUESTS = int(RATE * SCHEDULE.least_seconds) + 6
INPUTS = Inputs(
    source="test",
    sha256="0",
    requests=REQUESTS,
    requests_per_second=RATE,
    seed=0,
    telemetry="direct scrape",
)


@pytest.fixture(scope="module")
def folder():
    """Sockets need short paths, pytest's are long."""
    path = Path(tempfile.mkdtemp(prefix="headrace-cap-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


async def test_the_fleet_falls_under_its_cap_and_every_request_is_answered(folder):
    arrivals = azure_like(REQUESTS, requests_per_second=RATE, seed=0, models=MODEL_WEIGHTS)
    assert arrivals[-1].at_seconds >= SCHEDULE.least_seconds
    output = io.StringIO()
    console = Console(file=output, width=160)
    plan = ArmPlan(policy="dispatch", folder=folder, with_prometheus=False, cap=SCHEDULE)

    arm = await run_arm(plan, arrivals, console)
    step = report([arm], INPUTS)["cap_step"]
    print_cap_step(console, step)

    # The cap is what it is said to be, and was not kept before.
    assert step["cap_watts"] == pytest.approx(0.7 * step["cap_before_watts"], abs=1.0)
    assert step["cap_before_watts"] == pytest.approx(
        step["measured_watts_before_any_cap"] / 0.75, abs=1.0
    )
    watts = step["simulated_mean_watts"]
    assert watts["before"] > step["cap_watts"]
    # By the boards' own meter, which neither router nor capper reads.
    assert watts["after"] <= step["cap_watts"]
    assert step["under_cap_after_seconds"] is not None
    assert arm.saved_by_sleep_joules > 0.0

    # Nothing is lost, and each answer came from a replica that Envoy names.
    assert (arm.summary.completed, arm.summary.failed) == (REQUESTS, 0)
    assert step["requests_lost"] == {"before": 0, "after": 0}
    assert sum(step["requests"].values()) == REQUESTS
    assert sum(arm.summary.requests_by_replica.values()) == REQUESTS
    for backend, totals in arm.backends.items():
        served = arm.summary.requests_by_replica.items()
        assert totals.requests == sum(count for name, count in served if backend in name)

    # Replicas went to sleep, down to the floors at most, each with the plan's reason.
    assert step["awake_replicas"]["before"] == {"a100": 3, "h100": 3, "b200": 2}
    after = step["awake_replicas"]["after"]
    assert sum(after.values()) < 8
    assert all(after[backend] >= floor for backend, floor in FLOORS.items())
    cuts = [one for one in step["decisions"] if one["subject"] in FLOORS]
    assert cuts
    assert all("over the cap" in one["why"] for one in cuts)
    assert all(one["at_seconds"] >= step["step_seconds"] for one in cuts)
    prices = [one for one in step["decisions"] if one["change"].startswith("price")]
    assert prices[0]["at_seconds"] <= cuts[0]["at_seconds"], "the price is the first rung"

    # What people read says the same.
    shown = output.getvalue()
    assert f"{step['cap_before_watts']:.0f} W -> {step['cap_watts']:.0f} W" in shown
    assert "simulated" in shown
    assert cuts[0]["why"] in shown
