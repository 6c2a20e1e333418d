"""The demo's figures: idle watts over one window for all arms, and honest comparisons."""

import pytest

from headrace.demo.report import Arm, Inputs, report
from headrace.demo.totals import BackendTotals, backend_totals, joules_saved_by_sleep
from loadtest.outcome import RequestOutcome, summarise

INPUTS = Inputs(
    source="test", sha256="0", requests=1, requests_per_second=1.0, seed=0, telemetry="scrape"
)


def arm(policy, *, dynamic_joules, tokens=1000, window_seconds=10.0):
    outcome = RequestOutcome(
        index=0,
        model="m",
        prompt_tokens=1,
        wanted_output_tokens=2,
        streamed=True,
        aborted=False,
        due_seconds=0.0,
        started_seconds=0.0,
        finished_seconds=1.0,
        status=200,
        ttft_seconds=0.1,
        tpot_seconds=0.01,
        output_tokens=2,
    )
    totals = BackendTotals(
        requests=1,
        output_tokens=tokens,
        idle_watts=50.0,
        dynamic_joules=dynamic_joules,
        busy_seconds=1.0,
    )
    return Arm(
        policy=policy,
        summary=summarise([outcome]),
        backends={"h100": totals},
        window_seconds=window_seconds,
        pick_reasons={},
    )


def test_idle_watts_are_charged_over_the_longest_window_to_all():
    arms = [arm("a", dynamic_joules=100, window_seconds=20), arm("b", dynamic_joules=300)]

    result = report(arms, INPUTS)

    assert result["window_seconds"] == 20
    assert [a["simulated_energy_joules"] for a in result["arms"]] == [1100, 1300]
    compared = result["comparison"]
    assert compared["simulated_energy_joules_per_token_ratio"] == pytest.approx(1100 / 1300)
    assert compared["simulated_dynamic_joules_ratio"] == pytest.approx(1 / 3)
    assert compared["attainment_ratio_difference"] == 0.0


def test_one_arm_is_compared_with_nothing():
    assert report([arm("a", dynamic_joules=1)], INPUTS)["comparison"] is None


def test_no_token_is_no_figure_and_no_crash():
    result = report([arm("a", dynamic_joules=1, tokens=0)], INPUTS)

    assert result["arms"][0]["simulated_energy_joules_per_token"] is None


def meters(seconds, **idle_joules):
    replicas = {
        name.replace("_", "-"): {
            "finished_requests": int(seconds),
            "generation_tokens": 100 * int(seconds),
            "idle_joules": joules,
            "dynamic_joules": 7.0 * seconds,
            "busy_seconds": 0.5 * seconds,
        }
        for name, joules in idle_joules.items()
    }
    fleet = {"idle_joules": sum(idle_joules.values())}
    return {"simulated_seconds": seconds, "fleet": fleet, "replicas": replicas}


def test_idle_watts_are_those_of_boards_awake_and_what_sleep_saved_is_told_beside():
    start = meters(0.0, a100_0=0.0, a100_1=0.0, h100_0=0.0)
    step = meters(10.0, a100_0=800.0, a100_1=800.0, h100_0=1200.0)
    # From then on one A100 sleeps at 50 W.
    end = meters(30.0, a100_0=2400.0, a100_1=1800.0, h100_0=3600.0)

    totals = backend_totals(start, end, all_awake=(start, step))

    assert {name: one.idle_watts for name, one in totals.items()} == {"a100": 160.0, "h100": 120.0}
    a100 = totals["a100"]
    assert (a100.requests, a100.output_tokens, a100.busy_seconds) == (60, 6000, 30.0)
    assert a100.dynamic_joules == pytest.approx(420.0)
    assert joules_saved_by_sleep(start, end, totals) == pytest.approx(20.0 * 30.0)
