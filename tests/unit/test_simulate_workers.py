"""Several router workers in the simulator, and `headrace simulate --workers`."""

import json

import pytest
import yaml
from builders import chat, make_fleet
from study_builders import SMALL, study

from headrace.main import main
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.crew import Crew
from loadtest.simulator.scenario import parse_scenario
from loadtest.study.jobs import simulation_of
from loadtest.study.study import plan_study
from loadtest.study.worker_pairs import arms_of, mean_joules_ratio, worker_pairs
from router.decide.settings import DecideSettings


@pytest.fixture
def scenario_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return path


def simulate(scenario_file, *flags):
    return main(["simulate", str(scenario_file), "--seeds", "0", *map(str, flags)])


def test_the_comparison_is_printed_and_written(scenario_file, tmp_path, capsys):
    page = tmp_path / "workers.md"
    assert simulate(scenario_file, "--workers", 2, "--page", page) == 0
    for text in (capsys.readouterr().out, page.read_text(encoding="utf-8")):
        assert "dispatch@2" in text
        assert "dispatch@2-apart" in text
        assert "simulated" in text.lower()
    report = json.loads((tmp_path / "workers" / "report.json").read_text(encoding="utf-8"))
    arms = [pair["arm"] for pair in report["worker_pairs"]]
    assert arms == ["dispatch@2", "dispatch@2-apart"]
    assert str(tmp_path) not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--workers", "1"), "--workers must be 2 to 64, got 1"),
        (("--workers", "2", "--policy", "dispatch@3"), "must name plain arms"),
        (("--policy", "dispatch@x"), "after the @ stand 2 to 64 workers"),
        (("--policy", "two-pool@2"), "is not a policy of the router"),
    ],
)
def test_bad_numbers_are_told_in_a_sentence(scenario_file, capsys, flags, sentence):
    assert simulate(scenario_file, *flags) == 2
    assert sentence in capsys.readouterr().err


def test_arms_of_workers_name_what_they_are():
    shared, apart = arm_plan("dispatch@4"), arm_plan("dispatch@4-apart+max-clock")
    assert (shared.workers, shared.shared_ledger) == (4, True)
    assert (apart.workers, apart.shared_ledger) == (4, False)
    assert arms_of(["dispatch", "dispatch"], 4) == ("dispatch", "dispatch@4", "dispatch@4-apart")


def test_one_worker_is_compared_with_itself_as_equal():
    summary = study(arms=list(arms_of(["dispatch"], 2)))
    pairs = worker_pairs(summary.points, "dispatch", 2, shared=True)
    [pair] = pairs
    [one] = [arm for arm in summary.points[0].arms if arm.arm == "dispatch"]
    [two] = [arm for arm in summary.points[0].arms if arm.arm == "dispatch@2"]
    ratio = two.joules_per_token.value / one.joules_per_token.value
    assert pair.joules_ratio.value == pytest.approx(ratio)
    assert pair.joules_per_token == pytest.approx(two.joules_per_token.value)
    assert mean_joules_ratio(pairs) == pair.joules_ratio.value
    assert len(pair.joules_ratios) == len(pair.attainment_differences) == 2


@pytest.mark.parametrize("shared", [True, False])
def test_all_requests_end_in_every_workers_ledger(shared):
    crew = Crew(
        make_fleet(), DecideSettings(), workers=3, shared=shared, seed=1, delivery_seconds=0.001
    )
    picks = [crew.pick(chat(), now_seconds=0.01 * n, draw=0.5) for n in range(60)]
    crew.commit(now_seconds=1.0)
    known = [picker.ledger.running() for picker in crew.pickers]
    assert known == [60, 60, 60] if shared else sum(known) == 60
    for it in picks:
        assert crew.settle(it.ticket, now_seconds=2.0)
    crew.commit(now_seconds=3.0)
    assert [picker.ledger.running() for picker in crew.pickers] == [0, 0, 0]
    assert crew.ledger.running() == 0
    assert crew.commitments().keys() == {"llama"}


def test_nothing_is_known_before_it_is_delivered():
    crew = Crew(
        make_fleet(), DecideSettings(), workers=2, shared=True, seed=1, delivery_seconds=0.5
    )
    crew.pick(chat(), now_seconds=1.0, draw=0.5)
    crew.commit(now_seconds=1.4)
    assert sorted(picker.ledger.running() for picker in crew.pickers) == [0, 1]
    crew.commit(now_seconds=1.5)
    assert [picker.ledger.running() for picker in crew.pickers] == [1, 1]


def test_workers_that_hear_of_each_other_at_once_are_one_worker_to_the_last_digit():
    scenario = parse_scenario(yaml.safe_dump(SMALL), source="small.yaml")
    plan = plan_study(scenario, seeds=(0,))
    job = next(job for job in plan.jobs if job.arm == "dispatch")
    results = []
    for workers in (1, 3):
        simulation = simulation_of(job)
        if workers > 1:
            simulation.picker = Crew(
                simulation.world.fleet,
                simulation.arm.settings,
                workers=workers,
                shared=True,
                seed=0,
                delivery_seconds=0.0,
            )
        results.append(simulation.run())
    assert results[0] == results[1]
