"""Work that several scenarios have in common is done once, the longest first."""

from typing import NamedTuple

import pytest
import yaml
from study_builders import SMALL

from loadtest.reports.account_table import account_table
from loadtest.simulator.scenario import parse_scenario
from loadtest.study.study import cost, plan_study, run_studies
from loadtest.study.workers import total_cost, workers


class Sum(NamedTuple):
    key: str
    cost: float
    done: list

    def run(self, on_ratio=None, /):
        if on_ratio is not None:
            on_ratio(0.5)
        self.done.append(self.key)
        return f"answer {self.key}"


def scenario(**changes):
    fields = SMALL | {"window_seconds": 5, "warmup_seconds": 1, "arms": ["dispatch"]} | changes
    return parse_scenario(yaml.safe_dump(fields), source="small.yaml")


def test_equal_work_is_done_once_the_longest_first_and_answered_in_order():
    done, told = [], []
    works = [Sum("a", 1.0, done), Sum("b", 3.0, done), Sum("a", 1.0, done), Sum("c", 2.0, done)]
    with workers(1) as crew:
        answers = crew.do(works, told.append)
    assert answers == ["answer a", "answer b", "answer a", "answer c"]
    assert done == ["b", "c", "a"]
    assert sum(told) == pytest.approx(total_cost(works)) == 6.0


def test_scenarios_that_differ_in_name_and_arms_share_their_runs_and_bounds():
    one = plan_study(scenario(), seeds=(0, 1))
    other = plan_study(scenario(name="other", arms=["dispatch", "least-request"]), seeds=(0,))
    assert cost([one, other]) < cost([one]) + cost([other])
    with workers(1) as crew:
        both = run_studies([one, other], crew=crew, progress=lambda _: None)
    mine, theirs = (study.summary.points[0].arm("dispatch") for study in both)
    assert mine.results[0] == theirs.results[0]
    assert [len(mine.results), len(theirs.results)] == [2, 1]
    assert both[1].summary.scenario.name == "other"


@pytest.mark.parametrize(
    "changes",
    [
        {"window_seconds": 6},
        {"ttft_objective_seconds": 2},
        {"max_tokens": 100},
        {"trace": "synthetic-code"},
        {"loads_requests_per_second": [4]},
    ],
)
def test_whatever_changes_a_run_is_part_of_its_key(changes):
    [one], [other] = (plan_study(s, seeds=(0,)).jobs for s in (scenario(), scenario(**changes)))
    assert one.key != other.key


def test_the_accounts_are_shown_with_a_cap_and_left_out_without_any():
    capped = scenario(power_cap_watts=None, caps={"fleet": [{"at_seconds": 0, "watts": 500}]})
    plain = scenario(power_cap_watts=None)
    with workers(1) as crew:
        studies = run_studies(
            [plan_study(one, seeds=(0,)) for one in (capped, plain)],
            crew=crew,
            progress=lambda _: None,
        )
    header, [row] = account_table(studies[0].summary.points[0])
    cells = dict(zip(header, row, strict=True))
    assert cells["arm"] == "dispatch"
    account = studies[0].summary.points[0].arms[0].results[0].accounts.fleet_cap
    assert cells["over cap s"] == f"{account.seconds_over:.1f}"
    assert "gCO2e per 1000 tokens" not in header
    assert account_table(studies[1].summary.points[0]) is None
