"""Whole runs: no request, pick or joule is lost or counted twice, whatever the policy."""

import pytest
import yaml
from study_builders import SMALL

from loadtest.simulator.scenario import parse_scenario
from loadtest.study.jobs import play
from loadtest.study.study import plan_study

FAULTS = {
    "none": [],
    "wedged": [
        {"kind": "replica-wedged", "start_seconds": 2, "duration_seconds": 5, "replica": "h100/0"}
    ],
    "away": [{"kind": "router-away", "start_seconds": 2, "duration_seconds": 5}],
}


def outcomes(**changes):
    fields = SMALL | {"fault_cases": FAULTS, "window_seconds": 10} | changes
    scenario = parse_scenario(yaml.safe_dump(fields), source="small.yaml")
    return [play(job) for job in plan_study(scenario, seeds=(0,)).jobs]


@pytest.mark.parametrize("changes", [{}, {"priority": -1, "loads_requests_per_second": [40]}])
def test_requests_picks_and_joules_are_counted_once(changes):
    for outcome in outcomes(**changes):
        run = outcome.result
        assert run.requests == run.completed + run.shed
        assert sum(run.picks_by_backend.values()) == run.requests - run.shed
        assert 0 <= run.attained <= run.completed
        joules = sum(run.accounts.joules_by_state.values())
        assert joules == pytest.approx(run.dynamic_joules + run.idle_joules, rel=1e-9)
        assert run.tokens_per_joule * run.joules_per_token == pytest.approx(1.0)


def test_watts_over_time_add_up_to_the_joules_of_the_run():
    fields = SMALL | {"warmup_seconds": 0, "window_seconds": 12, "arms": ["queue-kv"]}
    scenario = parse_scenario(yaml.safe_dump(fields), source="small.yaml")
    [job] = plan_study(scenario, seeds=(0,), recorded=True).jobs
    outcome = play(job)
    timeline = outcome.timeline
    assert timeline.bin_seconds == 1.0
    window = sum(timeline.watts[:12])
    assert window == pytest.approx(
        outcome.result.dynamic_joules + outcome.result.idle_joules, rel=1e-9
    )
