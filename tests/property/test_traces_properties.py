"""Reading and reshaping of arrivals, whatever they are."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import Arrival, assign_models, assign_tenants
from loadtest.traces.errors import TraceError
from loadtest.traces.modifiers import (
    cap_lengths,
    limit,
    mean_requests_per_second,
    merge,
    repeat,
    speed_up,
    speed_up_factor,
    thin,
    window,
)
from loadtest.traces.opening import open_trace
from loadtest.traces.prefix import engine_block_hashes
from loadtest.traces.warps import diurnal_sinusoid, diurnal_weights, step

tokens = st.integers(0, 10**6)
rates = st.floats(0.01, 1e4)
seeds = st.integers(-(2**70), 2**70)
block_ids = st.lists(st.integers(0, 5), max_size=6).map(tuple)
arrivals = st.lists(
    st.builds(
        Arrival,
        st.floats(0, 1e5),
        tokens,
        tokens,
        st.sampled_from(["a", "b"]),
        prefix_blocks=block_ids,
        prefix_block_tokens=st.integers(1, 1024),
        tenant=st.sampled_from([None, "t"]),
    ),
    max_size=20,
).map(lambda drawn: sorted(drawn, key=lambda arrival: arrival.at_seconds))


def sizes(found):
    return [a[1:] for a in found]


def test_arrivals_closer_than_a_clock_ticks_have_no_rate():
    apart = [Arrival(0.0, 1, 1, "m"), Arrival(2.2e-311, 1, 1, "m")]

    assert mean_requests_per_second(apart) is None


@given(arrivals=arrivals, rate=rates)
def test_speeding_up_to_a_rate_reaches_it_and_keeps_all_else(arrivals, rate):
    if mean_requests_per_second(arrivals) is None:
        return
    factor = speed_up_factor(arrivals, requests_per_second=rate)
    faster = list(speed_up(arrivals, factor=factor))
    assert sizes(faster) == sizes(arrivals)
    assert faster[-1].at_seconds - faster[0].at_seconds == pytest.approx(
        (len(arrivals) - 1) / rate, rel=1e-6
    )


@given(arrivals=arrivals, cut=st.floats(0, 1e5))
def test_adjacent_windows_hold_every_arrival_once(arrivals, cut):
    first = list(window(arrivals, start_seconds=0.0, end_seconds=cut))
    second = list(window(arrivals, start_seconds=cut, end_seconds=float("inf")))
    assert sizes(first + second) == sizes(arrivals)
    assert all(a.at_seconds >= 0 for a in first + second)


@given(arrivals=arrivals, prompt=st.integers(1, 10**6), output=st.integers(1, 10**6))
def test_caps_hold_and_a_second_time_changes_nothing(arrivals, prompt, output):
    capped = list(cap_lengths(arrivals, max_prompt_tokens=prompt, max_output_tokens=output))
    assert all(a.prompt_tokens <= prompt and a.output_tokens <= output for a in capped)
    assert list(cap_lengths(capped, max_prompt_tokens=prompt, max_output_tokens=output)) == capped


@given(arrivals=arrivals, ratio=st.floats(0.01, 1), seed=seeds)
def test_thinning_is_a_subsequence(arrivals, ratio, seed):
    rest = iter(arrivals)
    assert all(kept in rest for kept in thin(arrivals, keep_ratio=ratio, seed=seed))


@given(arrivals=arrivals, seed=seeds)
def test_naming_models_and_tenants_changes_nothing_else(arrivals, seed):
    named = assign_tenants(
        assign_models(arrivals, models={"x": 1, "y": 2}, seed=seed), tenants={"t": 1}, seed=seed
    )
    assert [(a[:3], a.tenant, a.model in {"x", "y"}) for a in named] == [
        (a[:3], "t", True) for a in arrivals
    ]


@given(one=arrivals, other=arrivals)
def test_merging_keeps_all_in_order(one, other):
    merged = list(merge(one, other))
    assert sorted(map(repr, merged)) == sorted(map(repr, one + other))
    assert [a.at_seconds for a in merged] == sorted(a.at_seconds for a in one + other)


@given(arrivals=arrivals, times=st.integers(1, 4))
def test_repeating_gives_every_pass_the_same_gaps(arrivals, times):
    if mean_requests_per_second(arrivals) is None:
        return
    played = list(repeat(arrivals, times=times))
    assert sizes(played) == sizes(arrivals) * times
    due = [a.at_seconds for a in played]
    assert due == sorted(due)


warps = st.one_of(
    st.builds(
        lambda start, duration, factor: (
            lambda a: step(a, start_seconds=start, duration_seconds=duration, factor=factor)
        ),
        st.floats(0, 1e5),
        st.floats(1e-3, 1e5),
        st.floats(0.01, 100),
    ),
    st.builds(
        lambda swing, peak, period: (
            lambda a: diurnal_sinusoid(
                a, swing_ratio=swing, peak_seconds=peak, period_seconds=period
            )
        ),
        st.floats(0, 1),
        st.floats(-1e5, 1e5),
        st.floats(1, 1e5),
    ),
    st.builds(
        lambda weights, slot: lambda a: diurnal_weights(a, weights=weights, slot_seconds=slot),
        st.lists(st.integers(0, 9), min_size=1, max_size=24).filter(any),
        st.floats(0.1, 1e4),
    ),
)


@given(arrivals=arrivals, warp=warps)
def test_a_warp_keeps_every_arrival_in_order(arrivals, warp):
    warped = list(warp(arrivals))
    assert sizes(warped) == sizes(arrivals)
    due = [a.at_seconds for a in warped]
    assert due == sorted(due)
    assert all(at_seconds >= 0 for at_seconds in due)


@given(
    swing=st.floats(0, 1),
    peak=st.floats(-1e5, 1e5),
    period=st.floats(1, 1e5),
    whole=st.integers(0, 5),
)
def test_a_sinusoid_moves_no_arrival_out_of_its_period(swing, peak, period, whole):
    ends = [Arrival(whole * period, 1, 1, "m"), Arrival((whole + 1) * period, 1, 1, "m")]
    warped = diurnal_sinusoid(ends, swing_ratio=swing, peak_seconds=peak, period_seconds=period)
    # Where the rate is 0 an arrival may be due anywhere in a flat stretch: the cube root of eps.
    assert [a.at_seconds for a in warped] == pytest.approx(
        [a.at_seconds for a in ends], abs=1e-4 * period
    )


@given(
    ticks=st.lists(st.integers(0, 10**13), min_size=1, max_size=20, unique=True).map(sorted),
    lengths=st.tuples(tokens, tokens),
)
def test_a_written_azure_trace_is_read_back_to_the_last_100_ns(ticks, lengths):
    start = datetime(2023, 11, 16, tzinfo=UTC)
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for tick in ticks:
        whole_seconds, fraction = divmod(tick, 10**7)
        moment = (start + timedelta(seconds=whole_seconds)).strftime("%Y-%m-%d %H:%M:%S")
        rows.append(f"{moment}.{fraction:07d},{lengths[0]},{lengths[1]}")
    assert read("\n".join(rows).encode()) == [
        Arrival((tick - ticks[0]) / 10**7, *lengths, "m") for tick in ticks
    ]


requests = st.fixed_dictionaries(
    {
        "timestamp": st.integers(0, 10**10),
        "input_length": st.integers(3000, 10**6),
        "output_length": tokens,
        "hash_ids": block_ids,
    }
)


@given(written=st.lists(requests, min_size=1, max_size=10), packed=st.booleans())
def test_a_written_mooncake_trace_is_read_back_plain_and_packed(written, packed):
    written = sorted(written, key=lambda request: request["timestamp"])
    content = "\n".join(json.dumps(request) for request in written).encode()
    start = written[0]["timestamp"]
    assert read(gzip.compress(content) if packed else content) == [
        Arrival(
            (request["timestamp"] - start) / 1000,
            request["input_length"],
            request["output_length"],
            "m",
            request["hash_ids"],
        )
        for request in written
    ]


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_file_at_all_is_read_or_refused_in_one_sentence(content):
    try:
        outcome = read(content)
    except TraceError as error:
        outcome = str(error)
    assert outcome
    assert "\n" not in outcome


@given(one=block_ids, other=block_ids, size=st.integers(1, 900), block=st.integers(1, 600))
def test_prompts_share_no_more_engine_blocks_than_the_trace_says(one, other, size, block):
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    # Ids stand for all that comes before: give every other prefix another id.
    one, other = (
        tuple(hash(ids[: i + 1]) & 0xFFFFFFFF for i in range(len(ids))) for ids in (one, other)
    )
    left, right = (
        engine_block_hashes(
            Arrival(0.0, len(ids) * block, 1, "m", ids, block), block_size_tokens=size
        )
        for ids in (one, other)
    )
    assert len(left) == len(one) * block // size
    assert len(set(left)) == len(left)
    equal = [a == b for a, b in zip(left, right, strict=False)]
    assert equal == [index < common * block // size for index in range(len(equal))]


def read(content):
    with TemporaryDirectory() as folder:
        path = Path(folder, "trace")
        path.write_bytes(content)
        return list(limit(open_trace(path, model="m"), count=10**9))
