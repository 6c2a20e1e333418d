import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.outcome import (
    FailureKind,
    LatencyObjectives,
    RequestOutcome,
    nearest_rank,
    quantiles,
    summarise,
)

GOOD = RequestOutcome(
    index=0,
    model="m",
    prompt_tokens=50,
    wanted_output_tokens=11,
    streamed=True,
    aborted=False,
    due_seconds=1.0,
    started_seconds=1.5,
    finished_seconds=3.0,
    status=200,
    replica="10.0.0.1:8000",
    ttft_seconds=0.5,
    tpot_seconds=0.1,
    output_tokens=11,
    counted_prompt_tokens=48,
)
FAILED = replace(
    GOOD,
    failure=FailureKind.STATUS,
    status=503,
    replica=None,
    ttft_seconds=None,
    tpot_seconds=None,
    output_tokens=None,
    counted_prompt_tokens=None,
)
NEVER_STARTED = replace(
    FAILED, failure=FailureKind.DEADLINE, started_seconds=None, finished_seconds=None, status=None
)
ABORTED = replace(GOOD, aborted=True, tpot_seconds=None, output_tokens=None)
WHOLE = replace(GOOD, streamed=False, ttft_seconds=None, tpot_seconds=None)
OBJECTIVES = LatencyObjectives(ttft_seconds=0.5, tpot_seconds=0.1)


@pytest.mark.parametrize(
    ("outcome", "held"),
    [
        pytest.param(GOOD, True, id="both on the limit"),
        pytest.param(replace(GOOD, ttft_seconds=0.51), False, id="late first token"),
        pytest.param(replace(GOOD, tpot_seconds=0.11), False, id="slow tokens"),
        pytest.param(replace(GOOD, output_tokens=1, tpot_seconds=None), True, id="one token"),
        pytest.param(
            replace(GOOD, output_tokens=1, tpot_seconds=None, ttft_seconds=0.6),
            False,
            id="one late token",
        ),
        pytest.param(ABORTED, True, id="aborted after a token in time"),
        pytest.param(replace(ABORTED, ttft_seconds=0.6), False, id="aborted after a late token"),
        pytest.param(FAILED, False, id="failed"),
        pytest.param(replace(GOOD, failure=FailureKind.TRUNCATED), False, id="fast but cut off"),
        pytest.param(NEVER_STARTED, False, id="never started"),
        pytest.param(WHOLE, None, id="not streamed"),
        pytest.param(replace(WHOLE, failure=FailureKind.TIMEOUT), False, id="whole but failed"),
        pytest.param(
            replace(GOOD, output_tokens=None, tpot_seconds=None), None, id="no usage to judge by"
        ),
    ],
)
def test_attainment_is_joint_and_failures_miss(outcome, held):
    assert OBJECTIVES.attained(outcome) is held


def test_derived_times_leave_the_clients_own_lateness_out():
    assert GOOD.schedule_lag_seconds == 0.5
    assert GOOD.e2e_seconds == 1.5
    assert NEVER_STARTED.schedule_lag_seconds is None
    assert FAILED.e2e_seconds is ABORTED.e2e_seconds is NEVER_STARTED.e2e_seconds is None


def test_a_summary_counts_every_request_once():
    outcomes = [GOOD, replace(GOOD, replica="b"), FAILED, NEVER_STARTED, ABORTED, WHOLE]
    summary = summarise(outcomes, objectives=OBJECTIVES)
    assert (summary.requests, summary.completed, summary.aborted, summary.failed) == (6, 3, 1, 2)
    assert summary.failures_by_kind == {"deadline": 1, "status": 1}
    assert summary.requests_by_replica == {"10.0.0.1:8000": 3, "b": 1}
    assert (summary.judged, summary.attained) == (5, 3)
    assert summary.attainment_ratio == 3 / 5


def test_rates_are_over_the_time_from_the_first_due_to_the_last_end():
    later = replace(GOOD, due_seconds=2.0, started_seconds=2.0, finished_seconds=5.0)
    slow = replace(later, tpot_seconds=9.0)
    summary = summarise([GOOD, later, slow], objectives=OBJECTIVES)
    assert summary.duration_seconds == 4.0
    assert summary.output_tokens == 33
    assert summary.prompt_tokens == 144
    assert summary.output_tokens_per_second == 33 / 4
    assert summary.goodput_requests_per_second == 2 / 4
    assert summary.goodput_output_tokens_per_second == 22 / 4


def test_what_cannot_be_told_of_nothing_is_none():
    summary = summarise([])
    unknown = {name for name, value in summary.to_dict().items() if value is None}
    assert unknown == {
        "duration_seconds",
        "ttft_seconds",
        "tpot_seconds",
        "e2e_seconds",
        "schedule_lag_seconds",
        "output_tokens_per_second",
        "attainment_ratio",
        "goodput_requests_per_second",
        "goodput_output_tokens_per_second",
    }


def test_outcomes_and_summaries_become_json():
    summary = json.loads(json.dumps(summarise([GOOD, FAILED]).to_dict()))
    assert summary["objectives"] == {"ttft_seconds": 1.0, "tpot_seconds": 0.05}
    assert summary["ttft_seconds"] == {"count": 1, "p50": 0.5, "p90": 0.5, "p99": 0.5, "max": 0.5}
    outcome = json.loads(json.dumps(FAILED.to_dict()))
    assert (outcome["failure"], outcome["schedule_lag_seconds"]) == ("status", 0.5)


def test_ranks_are_exact():
    ordered = [float(n) for n in range(1, 101)]
    # 0.07 * 100 is 7.000000000000001: a ratio would give the eighth.
    assert [nearest_rank(ordered, percent=p) for p in (1, 7, 50, 99, 100)] == [1, 7, 50, 99, 100]


@given(
    values=st.lists(st.floats(0, 1e6), min_size=1, max_size=300),
    percent=st.integers(1, 100),
)
def test_a_quantile_is_the_least_value_that_covers_its_share(values, percent):
    found = nearest_rank(sorted(values), percent=percent)
    assert sum(v <= found for v in values) * 100 >= percent * len(values)
    assert sum(v < found for v in values) * 100 < percent * len(values)


def test_quantiles_are_of_the_known_values():
    assert quantiles([None, None]) is None
    known = quantiles([3.0, None, 1.0, 2.0])
    assert known is not None
    assert (known.count, known.p50, known.p90, known.p99, known.max) == (3, 2.0, 3.0, 3.0, 3.0)
