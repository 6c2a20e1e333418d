"""The linear programs, against what can be reckoned by hand."""

import pytest

from loadtest.bounds import ReplicaClass, Work, bounds
from loadtest.engine_state import Limits
from loadtest.truth import truth_of

H100, B200 = truth_of("H100"), truth_of("B200")


def work_of(requests, *, window_seconds=60.0, prompt_tokens=1000, output_tokens=201, cached=0):
    work = Work(window_seconds=window_seconds)
    for _ in range(requests):
        work.add(prompt_tokens=prompt_tokens, output_tokens=output_tokens, cached_tokens=cached)
    return work


def solve(work, *classes, tpot=0.05, **options):
    return bounds(work, classes, tpot_objective_seconds=tpot, **options)


def decode_joules(truth, batch, resident_tokens):
    seconds = truth.step_seconds(batch, kv_tokens=batch * resident_tokens) / batch
    return seconds * (truth.decode_watts_by_batch[batch] - truth.idle_watts)


def test_one_class_with_room_works_at_its_best_batch():
    found = solve(work_of(50), ReplicaClass(H100, Limits(), 2), tpot=None)
    # 1,000 prompt tokens and on average half of 201 generated ones are resident.
    best = min(decode_joules(H100, batch, 1100.5) for batch in range(1, 257))
    prompt = H100.chunk_seconds(done_tokens=0, new_tokens=1000)
    prefill_joules = prompt * (H100.prefill_watts - H100.idle_watts)
    idle_joules = 2 * 60.0 * H100.idle_watts
    expected = (50 * (200 * best + prefill_joules) + idle_joules) / (50 * 201)
    assert found.always_on == pytest.approx(expected, rel=1e-6)


def test_the_objective_limits_the_batch():
    loose = solve(work_of(50), ReplicaClass(H100, Limits(), 2), tpot=0.1)
    tight = solve(work_of(50), ReplicaClass(H100, Limits(), 2), tpot=0.009)
    assert loose.always_on < tight.always_on


def test_an_objective_below_one_step_cannot_be_kept():
    assert solve(work_of(5), ReplicaClass(H100, Limits(), 1), tpot=0.001).always_on is None


def test_more_than_the_fleet_can_do_has_no_bound_and_more_time_gives_one():
    work = work_of(6000)
    assert solve(work, ReplicaClass(H100, Limits(), 1)).always_on is None
    longer = solve(work, ReplicaClass(H100, Limits(), 1), horizon_seconds=6000.0)
    assert longer.always_on is not None


def test_engine_limits_count():
    small = ReplicaClass(H100, Limits(max_num_seqs=8), 2)
    assert (
        solve(work_of(50), small).always_on
        > solve(work_of(50), ReplicaClass(H100, Limits(), 2)).always_on
    )


def test_colocation_and_idle_power_only_ever_add():
    found = solve(work_of(400), ReplicaClass(H100, Limits(), 1), ReplicaClass(B200, Limits(), 1))
    assert found.may_sleep < found.always_on <= found.colocated_always_on
    assert found.may_sleep <= found.colocated_may_sleep < found.colocated_always_on


def test_cached_prompts_need_not_be_computed():
    replicas = ReplicaClass(H100, Limits(), 2)
    assert (
        solve(work_of(50, cached=900), replicas).always_on < solve(work_of(50), replicas).always_on
    )


def test_answers_of_one_token_need_no_decode_step():
    found = solve(work_of(5, output_tokens=1), ReplicaClass(H100, Limits(), 1))
    prompt = H100.chunk_seconds(done_tokens=0, new_tokens=1000)
    dynamic = prompt * (H100.prefill_watts - H100.idle_watts)
    assert found.colocated_always_on == pytest.approx(dynamic + 60.0 * H100.idle_watts / 5)


def test_no_work_has_no_joules_per_token():
    found = solve(Work(window_seconds=10.0), ReplicaClass(H100, Limits(), 1))
    assert set(found.to_dict().values()) == {None}
