import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import azure_code_like, azure_like
from loadtest.traces.modifiers import mean_requests_per_second

counts = st.integers(1, 300)
rates = st.floats(0.01, 1e4)
seeds = st.integers(-(2**70), 2**70)


@pytest.mark.parametrize("draw", [azure_like, azure_code_like])
@given(count=counts, rate=rates, seed=seeds)
def test_drawn_arrivals_are_as_many_in_order_and_at_the_wanted_rate(draw, count, rate, seed):
    drawn = draw(count, requests_per_second=rate, seed=seed, models={"m": 1})
    times = [a.at_seconds for a in drawn]
    assert len(drawn) == count
    assert times[0] == 0.0
    assert times == sorted(times)
    if count > 1:
        assert mean_requests_per_second(drawn) == pytest.approx(rate)


@given(count=counts, seed=seeds)
def test_drawn_lengths_stay_within_those_of_the_trace(count, seed):
    for arrival in azure_like(count, requests_per_second=1, seed=seed, models={"m": 1}):
        assert 2 <= arrival.prompt_tokens <= 14_050
        assert 7 <= arrival.output_tokens <= 1_000


@given(count=counts, seed=seeds)
def test_drawn_code_lengths_stay_within_those_of_the_trace(count, seed):
    for arrival in azure_code_like(count, requests_per_second=1, seed=seed, models={"m": 1}):
        assert 3 <= arrival.prompt_tokens <= 7437
        assert 6 <= arrival.output_tokens <= 1899


@given(count=counts, seed=seeds, weight=st.floats(0.01, 100))
def test_the_seed_alone_decides_and_models_change_neither_times_nor_lengths(count, seed, weight):
    one = azure_like(count, requests_per_second=3, seed=seed, models={"m": 1})
    again = azure_like(count, requests_per_second=3, seed=seed, models={"m": 1})
    mixed = azure_like(count, requests_per_second=3, seed=seed, models={"a": 1, "b": weight})
    assert one == again
    assert [a[:3] for a in one] == [a[:3] for a in mixed]
    assert {a.model for a in mixed} <= {"a", "b"}
