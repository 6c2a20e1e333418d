from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import (
    Arrival,
    azure_like,
    cap_lengths,
    mean_requests_per_second,
    speed_up,
    speed_up_factor,
    window,
)
from loadtest.azure_trace import load_azure_trace

counts = st.integers(1, 300)
rates = st.floats(0.01, 1e4)
seeds = st.integers(-(2**70), 2**70)
tokens = st.integers(0, 10**6)
arrivals = st.lists(
    st.builds(Arrival, st.floats(0, 1e5), tokens, tokens, st.sampled_from(["a", "b"])), max_size=20
).map(sorted)


@given(count=counts, rate=rates, seed=seeds)
def test_drawn_arrivals_are_as_many_in_order_and_at_the_wanted_rate(count, rate, seed):
    drawn = azure_like(count, requests_per_second=rate, seed=seed, models={"m": 1})
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


@given(count=counts, seed=seeds, weight=st.floats(0.01, 100))
def test_the_seed_alone_decides_and_models_change_neither_times_nor_lengths(count, seed, weight):
    one = azure_like(count, requests_per_second=3, seed=seed, models={"m": 1})
    again = azure_like(count, requests_per_second=3, seed=seed, models={"m": 1})
    mixed = azure_like(count, requests_per_second=3, seed=seed, models={"a": 1, "b": weight})
    assert one == again
    assert [a[:3] for a in one] == [a[:3] for a in mixed]
    assert {a.model for a in mixed} <= {"a", "b"}


@given(arrivals=arrivals, rate=rates)
def test_speeding_up_to_a_rate_reaches_it_and_keeps_all_else(arrivals, rate):
    if mean_requests_per_second(arrivals) is None:
        return
    factor = speed_up_factor(arrivals, requests_per_second=rate)
    faster = speed_up(arrivals, factor=factor)
    assert [a[1:] for a in faster] == [a[1:] for a in arrivals]
    assert faster[-1].at_seconds - faster[0].at_seconds == pytest.approx(
        (len(arrivals) - 1) / rate, rel=1e-6
    )


@given(arrivals=arrivals, cut=st.floats(0, 1e5))
def test_adjacent_windows_hold_every_arrival_once(arrivals, cut):
    first = window(arrivals, start_seconds=0.0, end_seconds=cut)
    second = window(arrivals, start_seconds=cut, end_seconds=float("inf"))
    assert [a[1:] for a in first + second] == [a[1:] for a in arrivals]
    assert all(a.at_seconds >= 0 for a in first + second)


@given(arrivals=arrivals, prompt=st.integers(1, 10**6), output=st.integers(1, 10**6))
def test_caps_hold_and_a_second_time_changes_nothing(arrivals, prompt, output):
    capped = cap_lengths(arrivals, max_prompt_tokens=prompt, max_output_tokens=output)
    assert all(a.prompt_tokens <= prompt and a.output_tokens <= output for a in capped)
    assert cap_lengths(capped, max_prompt_tokens=prompt, max_output_tokens=output) == capped


@given(
    ticks=st.lists(st.integers(0, 10**13), min_size=1, max_size=20).map(sorted),
    lengths=st.tuples(tokens, tokens),
)
def test_a_written_trace_is_read_back_to_the_last_100_ns(ticks, lengths):
    start = datetime(2023, 11, 16, tzinfo=UTC)
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for tick in ticks:
        whole_seconds, fraction = divmod(tick, 10**7)
        moment = (start + timedelta(seconds=whole_seconds)).strftime("%Y-%m-%d %H:%M:%S")
        rows.append(f"{moment}.{fraction:07d},{lengths[0]},{lengths[1]}")
    with TemporaryDirectory() as folder:
        path = Path(folder, "trace.csv")
        path.write_text("\n".join(rows))
        read = load_azure_trace(path, model="m")
    assert read == [Arrival((tick - ticks[0]) / 10**7, *lengths, "m") for tick in ticks]
