"""Which part of which trace a seed plays."""

from itertools import pairwise

import pytest

from loadtest.simulator.scenario import Scenario, ScenarioError
from loadtest.study.slices import arrivals, source_of, speed_up_ratio, start_ratio

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def trace(tmp_path):
    """Fifty requests, one a second; the prompt's length is its number."""
    path = tmp_path / "trace.csv"
    rows = [f"2023-11-16 18:00:{number:02d}.0,{number + 1},10\n" for number in range(50)]
    path.write_text(HEADER + "".join(rows), encoding="utf-8")
    return path


def scenario_of(**changes):
    fields = {
        "name": "n",
        "description": "d",
        "fleet": "F1",
        "loads_requests_per_second": (2.0,),
        "warmup_seconds": 0.0,
        "window_seconds": 10.0,
    }
    return Scenario.model_validate(fields | changes)


def played(scenario, *, load=2.0, seed=0):
    return list(arrivals(scenario, source_of(scenario), load_requests_per_second=load, seed=seed))


def test_five_seeds_begin_at_the_five_fifths_of_a_trace(trace):
    scenario = scenario_of(trace_file=str(trace))
    firsts = [played(scenario, seed=seed)[0].prompt_tokens for seed in range(5)]
    assert firsts == [1, 11, 21, 31, 41]


def test_further_seeds_begin_between_those_and_never_twice_at_one_place():
    ratios = [start_ratio(seed, 5) for seed in range(40)]
    assert len(set(ratios)) == 40
    assert ratios[5] == pytest.approx(0.1)
    assert all(0.0 <= ratio < 1.0 for ratio in ratios)


def test_the_trace_is_sped_up_to_the_load_and_starts_at_once(trace):
    scenario = scenario_of(trace_file=str(trace))
    rows = played(scenario)
    assert speed_up_ratio(scenario, source_of(scenario), 2.0) == pytest.approx(2.0)
    assert rows[0].at_seconds == 0.0
    assert len(rows) == 20
    assert {row.model for row in rows} == {scenario.model}


def test_a_trace_goes_round_without_a_gap_or_a_jump(trace):
    rows = played(scenario_of(trace_file=str(trace), window_seconds=100.0), seed=4)
    assert [row.prompt_tokens for row in rows[8:12]] == [49, 50, 1, 2]
    gaps = [b.at_seconds - a.at_seconds for a, b in pairwise(rows)]
    assert gaps == pytest.approx([0.5] * len(gaps))
    assert len(rows) == 200


def test_a_step_plays_its_stretch_of_the_window_faster(trace):
    step = {"start_seconds": 2.0, "duration_seconds": 3.0, "factor": 3.0}
    rows = played(scenario_of(trace_file=str(trace), warmup_seconds=1.0, step=step))
    inside = [row for row in rows if 3.0 <= row.at_seconds < 6.0]
    before = [row for row in rows if row.at_seconds < 3.0]
    assert (len(before), len(inside)) == (6, 18)


@pytest.mark.parametrize("name", ["synthetic-conv", "synthetic-code"])
def test_a_generator_offers_the_load_for_the_whole_window(name):
    scenario = scenario_of(trace=name, window_seconds=60.0)
    rows = played(scenario, load=5.0, seed=2)
    assert len(rows) == pytest.approx(300, abs=1)
    assert rows == played(scenario, load=5.0, seed=2)
    assert rows != played(scenario, load=5.0, seed=3)
    assert speed_up_ratio(scenario, source_of(scenario), 5.0) == 1.0


def test_a_missing_data_set_is_replaced_by_its_generator_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    source = source_of(scenario_of(trace="azure-code"))
    assert (source.name, source.path) == ("synthetic-code", None)
    assert "azure-code is NOT played" in source.warning
    assert "set HEADRACE_DATA" in source.warning
    assert str(tmp_path) not in source.warning, "pages with it are the same everywhere"


def test_inputs_are_known_by_their_hash(trace):
    first = source_of(scenario_of(trace_file=str(trace)))
    trace.write_text(trace.read_text(encoding="utf-8") + "2023-11-16 18:01:00.0,1,1\n", "utf-8")
    assert source_of(scenario_of(trace_file=str(trace))).sha256 != first.sha256
    assert len(first.sha256) == 64


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (HEADER, "no requests"),
        ("when,what\n1,2\n", "columns"),
        (HEADER + "2023-11-16 18:00:00.0,1,1\n", "spans no time"),
        (HEADER + "2023-11-16 18:00:01.0,1,1\n2023-11-16 18:00:00.0,1,1\n", ":3:"),
    ],
)
def test_a_trace_that_cannot_be_used_is_one_sentence(tmp_path, text, part):
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=part) as caught:
        played(scenario_of(trace_file=str(path)))
    assert str(path) in str(caught.value)
