"""A scenario that is played in a second, and its study."""

import pytest
import yaml

from loadtest.simulator.scenario import parse_scenario
from loadtest.study.study import cost, plan_study, run_studies
from loadtest.study.workers import workers

ARMS = ["dispatch", "merit-packing", "queue-kv", "least-request"]
SMALL = {
    "name": "small",
    "description": "two boards",
    "backends": [{"accelerator": "H100", "replicas": 1}, {"accelerator": "B200", "replicas": 1}],
    "trace": "synthetic-conv",
    "loads_requests_per_second": [3],
    "warmup_seconds": 5,
    "window_seconds": 15,
    "power_cap_watts": 900,
    "arms": ARMS,
}


def study(seeds=(0, 1), **changes):
    scenario = parse_scenario(yaml.safe_dump(SMALL | changes), source="small.yaml")
    told = []
    plan = plan_study(scenario, seeds=seeds)
    with workers(1) as crew:
        [played] = run_studies([plan], crew=crew, progress=told.append)
    assert sum(told) == pytest.approx(cost([plan]))
    return played.summary
