"""Traffic estimates: rate, lengths and bytes per token, from own arrivals and engine counters."""

import pytest
from builders import chat, make_fleet, make_snapshot

from fleet.signals import SignalKind
from router.decide.expectation import expected_output_tokens
from router.decide.request_facts import Api, RequestFacts
from router.decide.settings import DecideSettings
from router.decide.workload import Workload

FLEET = make_fleet({"H100": 1})
ADDRESS = next(iter(FLEET.replicas())).address


def served(*, prompt=0.0, written=0.0, finished=0.0, hits=0.0, queries=0.0, running=0.0, at=0.0):
    return make_snapshot(
        FLEET,
        {
            ADDRESS: {
                SignalKind.PROMPT_TOKENS_TOTAL: prompt,
                SignalKind.GENERATION_TOKENS_TOTAL: written,
                SignalKind.REQUESTS_FINISHED_TOTAL: finished,
                SignalKind.PREFIX_HIT_TOKENS_TOTAL: hits,
                SignalKind.PREFIX_QUERY_TOKENS_TOTAL: queries,
                SignalKind.RUNNING_REQUESTS: running,
            }
        },
        at_seconds=at,
    )


def observe(workload, snapshot, *, now_seconds):
    for _ in workload.observing(snapshot, now_seconds=now_seconds):
        pass


def test_the_rate_is_right_before_the_window_is_full_and_after():
    load = Workload(DecideSettings()).of("llama")

    for k in range(1, 1001):
        load.arrive(chat(), prompt_tokens=10, now_seconds=k / 10)
        if k in {50, 1000}:
            assert load.requests_per_second(now_seconds=k / 10) == pytest.approx(10.0, rel=0.1)


def test_the_rate_fades_when_requests_stop():
    load = Workload(DecideSettings()).of("llama")
    for k in range(200):
        load.arrive(chat(), prompt_tokens=10, now_seconds=k / 10)

    assert load.requests_per_second(now_seconds=200) < 0.01


def test_answer_length_is_learned_from_counters():
    workload = Workload(DecideSettings())
    observe(workload, served(), now_seconds=0)
    observe(workload, served(written=50_000, finished=500), now_seconds=10)

    assert workload.of("llama").mix(now_seconds=10).output_tokens == pytest.approx(100, rel=0.02)


def test_requests_that_still_run_do_not_look_like_endless_answers():
    workload = Workload(DecideSettings())
    observe(workload, served(), now_seconds=0)
    # 200 requests of 100 tokens are halfway, none has finished.
    observe(workload, served(written=10_000, running=200), now_seconds=1)

    assert workload.of("llama").mix(now_seconds=1).output_tokens < 120


def test_bytes_per_token_is_calibrated_from_prompt_tokens():
    workload = Workload(DecideSettings())
    observe(workload, served(), now_seconds=0)
    for _ in range(100):
        workload.of("llama").arrive(chat(prompt_bytes=6000), prompt_tokens=1, now_seconds=1)
    observe(workload, served(prompt=100 * 3000, finished=100), now_seconds=2)

    assert workload.of("llama").present(2).bytes_per_token == pytest.approx(2.0, rel=0.05)


def test_tokens_of_other_clients_do_not_spoil_the_calibration():
    workload = Workload(DecideSettings())
    observe(workload, served(), now_seconds=0)
    for _ in range(100):
        workload.of("llama").arrive(chat(prompt_bytes=6000), prompt_tokens=1, now_seconds=1)
    # As many requests again came from elsewhere.
    observe(workload, served(prompt=200 * 1500, finished=200), now_seconds=2)

    assert workload.of("llama").present(2).bytes_per_token == pytest.approx(4.0, rel=0.05)


def test_without_telemetry_nothing_is_calibrated():
    load = Workload(DecideSettings()).of("llama")
    for k in range(1000):
        load.arrive(chat(prompt_bytes=10**6), prompt_tokens=1, now_seconds=k)

    assert load.present(1000).bytes_per_token == pytest.approx(4.2)


def test_cached_prompt_tokens_need_no_computing():
    workload = Workload(DecideSettings())
    observe(workload, served(), now_seconds=0)
    for _ in range(1000):
        workload.of("llama").arrive(chat(), prompt_tokens=800, now_seconds=1)
    observe(workload, served(hits=600, queries=800), now_seconds=2)

    mix = workload.of("llama").mix(now_seconds=2)

    assert mix.computed_prompt_tokens == pytest.approx(0.25 * mix.prompt_tokens)


@pytest.mark.parametrize(
    ("facts", "tokens"),
    [
        (RequestFacts("llama", Api.CHAT, max_output_tokens=20), 20),
        (RequestFacts("llama", Api.CHAT, max_output_tokens=5000), 256),
        (RequestFacts("llama", Api.CHAT), 256),
        (RequestFacts("llama", Api.CHAT, max_output_tokens=5000, ignore_eos=True), 5000),
        (RequestFacts("llama", Api.CHAT, max_output_tokens=20, choices=3), 60),
        (RequestFacts("llama", Api.EMBEDDINGS), 0),
    ],
)
def test_expected_answer_length(facts, tokens):
    load = Workload(DecideSettings()).of("llama")

    assert expected_output_tokens(facts, load.mix(now_seconds=0).output_tokens) == tokens


def test_what_left_the_fleet_is_forgotten():
    workload = Workload(DecideSettings())
    workload.of("gone").arrive(chat("gone"), prompt_tokens=1, now_seconds=0)

    observe(workload, served(), now_seconds=1)

    assert workload.of("gone").requests_per_second(now_seconds=1) == 0.0
