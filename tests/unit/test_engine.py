"""The simulated engine: who is in a step, how long it takes, what it draws."""

import pytest

from loadtest.engine import Engine, EngineError
from loadtest.engine_state import EngineRequest, Iteration, Limits, State, Step
from loadtest.truth import MAX_BATCH, accelerators, models, truth_of

H100 = truth_of("H100")


def make_engine(**limits):
    return Engine[EngineRequest](H100, Limits(**limits))


def submit(engine, name, *, prompt=100, output=10, hashes=(), at=0.0):
    request = EngineRequest(name, prompt_tokens=prompt, output_tokens=output, block_hashes=hashes)
    engine.submit(request, now_seconds=at)
    return request


def step(engine, now=0.0):
    iteration = engine.plan(now)
    assert iteration is not None
    return iteration, engine.complete(iteration)


def drain(engine, now=0.0):
    """Run until idle; the iterations and steps in order, and the time after the last."""
    history: list[tuple[Iteration, Step[EngineRequest]]] = []
    while (iteration := engine.plan(now)) is not None:
        history.append((iteration, engine.complete(iteration)))
        now = iteration.end_seconds
    return history, now


@pytest.mark.parametrize("model", models())
@pytest.mark.parametrize("accelerator", accelerators())
def test_every_truth_has_positive_times_and_watts_at_every_batch(accelerator, model):
    truth = truth_of(accelerator, model)
    for batch in range(MAX_BATCH + 1):
        assert truth.step_seconds(batch, kv_tokens=0) > 0
        assert truth.decode_watts_by_batch[batch] > truth.idle_watts > truth.asleep_watts > 0
    assert truth.prefill_watts > truth.idle_watts
    assert truth.kv_capacity_tokens > 100_000
    assert truth.max_clock_hz > truth.asleep_clock_hz
    assert truth.sources


def test_the_tables_pass_through_the_measured_points():
    assert H100.step_seconds(64, kv_tokens=64 * 317.0) == pytest.approx(0.01150)
    assert H100.decode_watts_by_batch[128] == pytest.approx(669.2)
    assert truth_of("B200").decode_watts_by_batch[128] == pytest.approx(449.3)
    assert truth_of("A100").decode_watts_by_batch[4] == pytest.approx(280.0)


def test_between_two_points_the_tables_are_linear_in_log_batch():
    b200 = truth_of("B200")
    assert b200.step_seconds_by_batch[0] == b200.step_seconds_by_batch[1]
    middle = b200.decode_watts_by_batch[181]  # 181 is nearly sqrt(128 * 256)
    assert middle == pytest.approx((449.3 + 540.2) / 2, abs=0.2)


def test_faster_boards_step_faster_at_small_batch():
    steps = [truth_of(name).step_seconds(4, kv_tokens=4 * 300) for name in ("A100", "H100", "B200")]
    assert 0.011 < steps[0] < 0.014
    assert 0.0065 < steps[1] < 0.0075
    assert 0.004 < steps[2] < 0.005


@pytest.mark.parametrize(("accelerator", "model"), [("H9", "llama-3.1-8b"), ("H100", "gpt")])
def test_an_unknown_name_is_refused_with_the_known_ones(accelerator, model):
    with pytest.raises(KeyError, match="is not one of"):
        truth_of(accelerator, model)


def test_splitting_a_prompt_into_chunks_costs_the_same_prefill_time():
    whole = H100.chunk_seconds(done_tokens=0, new_tokens=4000)
    split = sum(
        H100.chunk_seconds(done_tokens=done, new_tokens=1000) for done in range(0, 4000, 1000)
    )
    assert split == pytest.approx(whole)


def test_an_idle_engine_plans_nothing_and_draws_idle_watts():
    engine = make_engine()
    assert engine.plan(1.0) is None
    assert engine.power_watts(1.0) == H100.idle_watts
    assert engine.energy(10.0).joules == pytest.approx(10.0 * H100.idle_watts)


def test_one_request_prefills_once_then_decodes_one_token_a_step():
    engine = make_engine()
    request = submit(engine, "a", prompt=100, output=5)
    history, now = drain(engine)
    assert [iteration.prefill_tokens for iteration, _ in history] == [100, 0, 0, 0, 0]
    assert [iteration.decode_batch for iteration, _ in history] == [0, 1, 1, 1, 1]
    assert [done.finished for _, done in history] == [[], [], [], [], [request]]
    assert request.state is State.FINISHED
    assert request.first_token_seconds == history[0][0].end_seconds
    assert request.finished_seconds == now
    assert engine.generated(request) == 5
    assert engine.kv_used_tokens == 0


def test_a_request_of_one_token_ends_with_its_prefill():
    engine = make_engine()
    request = submit(engine, "a", output=1)
    _, done = step(engine)
    assert done.prefilled == done.finished == [request]
    assert done.decoded_tokens == 0


def test_a_long_prompt_is_computed_in_chunks_of_the_budget_beside_the_decodes():
    engine = make_engine()
    submit(engine, "short", prompt=16, output=50)
    step(engine)
    submit(engine, "long", prompt=5000)
    chunks = [step(engine)[0].prefill_tokens for _ in range(3)]
    assert chunks == [2047, 2047, 906]  # one token of the budget is the decode's


def test_the_batch_never_exceeds_max_num_seqs_and_the_rest_waits_in_order():
    engine = make_engine(max_num_seqs=2)
    requests = [submit(engine, name, output=3) for name in "abc"]
    step(engine)
    assert (engine.running, engine.waiting) == (2, 1)
    assert requests[2].scheduled_seconds is None
    drain(engine)
    assert [request.state for request in requests] == [State.FINISHED] * 3


def test_step_time_and_energy_follow_the_truth():
    engine = make_engine()
    for name in "abcd":
        submit(engine, name, prompt=100, output=10)
    prefill, _ = step(engine)
    chunk_seconds = 4 * H100.chunk_seconds(done_tokens=0, new_tokens=100)
    base_seconds = H100.step_seconds(0, kv_tokens=0)
    assert prefill.duration_seconds == pytest.approx(base_seconds + chunk_seconds)
    decode, _ = step(engine, prefill.end_seconds)
    assert decode.duration_seconds == pytest.approx(H100.step_seconds(4, kv_tokens=4 * 101))
    assert decode.power_watts == pytest.approx(H100.decode_watts_by_batch[4])


def test_energy_can_be_read_inside_a_step():
    engine = make_engine()
    submit(engine, "a")
    iteration = engine.plan(2.0)
    half = engine.energy(2.0 + iteration.duration_seconds / 2)
    assert half.joules == pytest.approx(2.0 * H100.idle_watts + iteration.energy_joules / 2)
    assert half.busy_seconds == pytest.approx(iteration.duration_seconds / 2)
    assert engine.power_watts(2.0) == pytest.approx(iteration.power_watts)


def test_the_newest_request_is_preempted_when_blocks_run_out_and_recomputes():
    engine = make_engine(kv_capacity_tokens=256)
    old = submit(engine, "old", prompt=112, output=60)
    new = submit(engine, "new", prompt=112, output=60)
    drain(engine)
    assert (old.preemptions, new.preemptions) == (0, 1)
    assert engine.counters.preemptions == 1
    assert engine.counters.generation_tokens == 120
    assert engine.counters.prompt_tokens == 224
    # The second time, prompt and what had been generated were computed again.
    assert engine.counters.computed_prompt_tokens > 2 * 112 + 112


def test_a_repeated_prompt_is_found_in_the_prefix_cache_and_costs_less():
    engine = make_engine()
    hashes = tuple(range(6))  # 100 tokens are 6 full blocks
    submit(engine, "first", hashes=hashes)
    first, _ = step(engine)
    second_request = submit(engine, "second", hashes=hashes)
    second, _ = step(engine, first.end_seconds)
    assert first.prefill_tokens == 100
    assert second.prefill_tokens == 4
    assert second_request.cached_tokens == 96
    assert engine.counters.prefix_query_tokens == 200
    assert engine.counters.prefix_hit_tokens == 96


def test_one_token_of_a_wholly_cached_prompt_is_still_computed():
    engine = make_engine()
    for name in "ab":
        submit(engine, name, prompt=32, hashes=(1, 2))
        iteration, _ = step(engine)
    assert iteration.prefill_tokens == 16


def test_the_oldest_cached_prompt_is_forgotten_first():
    engine = make_engine(kv_capacity_tokens=128)
    for name, hashes in (("a", (1, 2, 3)), ("b", (11, 12, 13)), ("c", (21, 22, 23))):
        submit(engine, name, prompt=50, output=2, hashes=hashes)
        drain(engine)
    newest = submit(engine, "b again", prompt=50, output=2, hashes=(11, 12, 13))
    drain(engine)
    oldest = submit(engine, "a again", prompt=50, output=2, hashes=(1, 2, 3))
    drain(engine)
    assert newest.cached_tokens == 48
    assert oldest.cached_tokens < 48


def test_without_prefix_caching_nothing_is_found():
    engine = make_engine(enable_prefix_caching=False)
    for name in "ab":
        request = submit(engine, name, hashes=tuple(range(6)))
        drain(engine)
    assert request.cached_tokens == 0


def test_an_aborted_request_gives_everything_back():
    engine = make_engine(max_num_seqs=1)
    running = submit(engine, "running")
    waiting = submit(engine, "waiting")
    iteration = engine.plan(0.0)
    assert engine.abort("running") is running
    assert engine.abort("waiting") is waiting
    assert engine.abort("waiting") is None
    done = engine.complete(iteration)
    assert done == Step(0, [], [])
    assert (engine.running, engine.waiting, engine.kv_used_tokens) == (0, 0, 0)
    assert engine.counters.aborted == 2
    assert engine.counters.generation_tokens == 0
    assert engine.plan(iteration.end_seconds) is None


def test_a_request_that_can_never_fit_is_refused():
    engine = make_engine(kv_capacity_tokens=160)
    with pytest.raises(EngineError, match="which holds 160"):
        submit(engine, "a", prompt=150, output=20)


def test_a_request_is_submitted_once():
    engine = make_engine()
    request = submit(engine, "a")
    with pytest.raises(EngineError, match="submitted before"):
        engine.submit(request, now_seconds=0.0)


def test_a_sleeping_engine_draws_less_and_serves_after_it_wakes():
    engine = make_engine()
    engine.sleep(now_seconds=10.0)
    request = submit(engine, "a", at=20.0)
    assert engine.plan(20.0) is None
    engine.wake(now_seconds=30.0)
    expected_joules = 10 * H100.idle_watts + 20 * H100.asleep_watts
    assert engine.energy(30.0).joules == pytest.approx(expected_joules)
    drain(engine, 30.0)
    assert request.scheduled_seconds == 30.0


def test_an_engine_with_work_refuses_to_sleep():
    engine = make_engine()
    submit(engine, "a")
    with pytest.raises(EngineError, match="1 unfinished"):
        engine.sleep(now_seconds=0.0)


def test_a_halted_engine_loses_its_requests_and_pays_for_half_a_step_only():
    engine = make_engine()
    request = submit(engine, "a")
    iteration = engine.plan(0.0)
    engine.halt(now_seconds=iteration.duration_seconds / 2)
    assert request.state is State.ABORTED
    assert engine.energy(iteration.duration_seconds).busy_seconds == pytest.approx(
        iteration.duration_seconds / 2
    )
    assert engine.power_watts(iteration.duration_seconds) == H100.asleep_watts


@pytest.mark.parametrize(
    "limits",
    [
        {"max_num_seqs": 0},
        {"max_num_seqs": MAX_BATCH + 1},
        {"max_num_seqs": 64, "max_num_batched_tokens": 32},
        {"block_size_tokens": 0},
        {"kv_capacity_tokens": 8},
    ],
)
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match=r"must|needs"):
        make_engine(**limits)


@pytest.mark.parametrize("tokens", [{"prompt_tokens": 0}, {"output_tokens": 0}])
def test_a_request_without_tokens_is_refused(tokens):
    with pytest.raises(ValueError, match="must be >= 1"):
        EngineRequest("a", **{"prompt_tokens": 1, "output_tokens": 1, **tokens})
