import itertools

import pytest

from loadtest.arrivals import Arrival, assign_tenants, azure_like, azure_like_stream
from loadtest.traces.modifiers import (
    cap_lengths,
    limit,
    mean_requests_per_second,
    merge,
    rename_models,
    repeat,
    speed_up,
    speed_up_factor,
    thin,
    window,
)
from loadtest.traces.prefix import engine_block_hashes

THREE = [Arrival(0.0, 100, 10, "a"), Arrival(1.0, 200, 20, "a"), Arrival(4.0, 300, 30, "a")]


def test_the_mean_rate_counts_gaps():
    assert mean_requests_per_second(iter(THREE)) == 0.5
    assert mean_requests_per_second(THREE[:1]) is None
    assert mean_requests_per_second([THREE[0], THREE[0]]) is None


def test_speeding_up_by_the_factor_for_a_rate_gives_that_rate():
    factor = speed_up_factor(THREE, requests_per_second=5.0)
    assert factor == 10.0
    assert [a.at_seconds for a in speed_up(THREE, factor=factor)] == [0.0, 0.1, 0.4]


@pytest.mark.parametrize("factor", [0, -2, float("inf")])
def test_time_is_not_stopped_nor_turned(factor):
    with pytest.raises(ValueError, match="must be a number above 0"):
        speed_up(THREE, factor=factor)


def test_arrivals_without_a_rate_have_no_factor():
    with pytest.raises(ValueError, match="have no rate"):
        speed_up_factor(THREE[:1], requests_per_second=1.0)


def test_a_window_starts_at_its_own_zero_and_leaves_out_its_end():
    assert list(window(THREE, start_seconds=1.0, end_seconds=4.0)) == [Arrival(0.0, 200, 20, "a")]


def test_a_window_and_a_limit_end_an_endless_stream():
    stream = azure_like_stream(requests_per_second=10, seed=0, models={"m": 1})
    assert len(list(limit(stream, count=7))) == 7
    assert 50 < len(list(window(stream, start_seconds=10.0, end_seconds=30.0))) < 500


def test_caps_cut_only_what_is_longer():
    capped = list(cap_lengths(THREE, max_prompt_tokens=200, max_output_tokens=15))
    assert [(a.prompt_tokens, a.output_tokens) for a in capped] == [(100, 10), (200, 15), (200, 15)]
    assert list(cap_lengths(THREE)) == THREE


def test_a_cut_prompt_keeps_the_blocks_it_still_has():
    long = Arrival(0.0, 2000, 10, "a", prefix_blocks=(5, 6, 7, 8))
    (capped,) = cap_lengths([long], max_prompt_tokens=600)
    assert capped.prefix_blocks == (5, 6)


@pytest.mark.parametrize("name", ["max_prompt_tokens", "max_output_tokens"])
def test_a_cap_leaves_at_least_one_token(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        cap_lengths(THREE, **{name: 0})


def test_thinning_keeps_the_share_and_depends_on_the_seed_alone():
    many = azure_like(10_000, requests_per_second=10, seed=0, models={"m": 1})
    kept = list(thin(many, keep_ratio=0.3, seed=1))
    assert kept == list(thin(many, keep_ratio=0.3, seed=1))
    assert kept != list(thin(many, keep_ratio=0.3, seed=2))
    assert len(kept) == pytest.approx(3000, rel=0.05)
    assert list(thin(many, keep_ratio=1, seed=1)) == many


@pytest.mark.parametrize("ratio", [0, -0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(ratio):
    with pytest.raises(ValueError, match="keep_ratio is"):
        thin(THREE, keep_ratio=ratio, seed=0)


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count is -1"):
        limit(THREE, count=-1)


def test_models_of_a_trace_are_renamed_and_forgotten_ones_named():
    assert {a.model for a in rename_models(THREE, models={"a": "llama"})} == {"llama"}
    with pytest.raises(ValueError, match="asks for model 'a', which is renamed to none"):
        list(rename_models(THREE, models={"b": "llama"}))


def test_tenants_are_drawn_by_their_weights_and_models_stay():
    many = azure_like(4000, requests_per_second=1, seed=3, models={"m": 1})
    mixed = list(assign_tenants(many, tenants={"red": 3, "blue": 1}, seed=3))
    assert sum(a.tenant == "red" for a in mixed) / 4000 == pytest.approx(0.75, abs=0.03)
    assert [a._replace(tenant=None) for a in mixed] == many
    with pytest.raises(ValueError, match="tenant weights are"):
        assign_tenants(THREE, tenants={}, seed=0)


def test_streams_are_merged_in_order_of_time():
    other = [a._replace(at_seconds=a.at_seconds + 0.5, model="b") for a in THREE]
    assert [a.model for a in merge(THREE, other)] == ["a", "b", "a", "b", "a", "b"]


def test_a_repeated_trace_keeps_its_mean_rate():
    assert [a.at_seconds for a in repeat(THREE, times=2)] == [0, 1, 4, 6, 7, 10]
    assert mean_requests_per_second(list(repeat(THREE, times=9))) == pytest.approx(0.5)
    assert len(list(limit(repeat(THREE), count=100))) == 100


def test_a_repeated_late_trace_keeps_its_mean_gap():
    late = [a._replace(at_seconds=a.at_seconds + 10) for a in THREE]
    assert [a.at_seconds for a in repeat(late, times=2)] == [10, 11, 14, 16, 17, 20]


@pytest.mark.parametrize("arrivals", [[], THREE[:1], [THREE[0]] * 2, iter(THREE)])
def test_what_cannot_be_repeated_is_told(arrivals):
    with pytest.raises(ValueError, match="cannot be repeated"):
        list(repeat(arrivals, times=2))


def test_a_trace_is_played_at_least_once():
    with pytest.raises(ValueError, match="times is 0"):
        repeat(THREE, times=0)
    assert list(repeat(THREE, times=1)) == THREE


def test_engine_blocks_of_a_shared_prefix_are_shared():
    one = Arrival(0.0, 1300, 1, "m", prefix_blocks=(0, 1, 2))
    other = Arrival(0.0, 1500, 1, "m", prefix_blocks=(0, 1, 3))
    hashes = [engine_block_hashes(a, block_size_tokens=16) for a in (one, other)]
    assert [len(h) for h in hashes] == [1300 // 16, 1500 // 16]
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*hashes, strict=False))
    assert len(list(shared)) == 1024 // 16
    assert engine_block_hashes(Arrival(0.0, 1300, 1, "m"), block_size_tokens=16) == ()
