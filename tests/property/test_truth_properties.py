"""Clock and power limit of the simulated hardware, for every configuration and setting."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest.truth import MAX_BATCH, Truth, accelerators, models, parallelisms, truth_of

CONFIGURATIONS = [
    (accelerator, model, gpus)
    for accelerator in accelerators()
    for model in models()
    for gpus in parallelisms(accelerator, model)
]
batches = st.integers(1, MAX_BATCH)
shares = st.floats(0.0, 1.0)


def with_response(truth: Truth, *, phi: float, core_share: float) -> Truth:
    response = truth.clock_response._replace(decode_phi=phi, decode_core_share=core_share)
    return replace(truth, clock_response=response)


@st.composite
def truths(draw) -> Truth:
    """Any configuration, with any decode sensitivity in the declared ranges."""
    accelerator, model, gpus = draw(st.sampled_from(CONFIGURATIONS))
    return with_response(
        truth_of(accelerator, model, gpus=gpus),
        phi=draw(st.floats(0.0, 0.3)),
        core_share=draw(st.floats(0.3, 0.8)),
    )


# Over its limit by one in the last place.
ROUNDED = with_response(
    truth_of("B200", "llama-3.1-8b", gpus=1), phi=0.0, core_share=0.6548988879192282
)


def clock_of(truth: Truth, share: float) -> float:
    return truth.asleep_clock_hz + share * (truth.max_clock_hz - truth.asleep_clock_hz)


def chunk_joules(truth: Truth) -> float:
    return truth.prefill_watts * truth.chunk_seconds(done_tokens=0, new_tokens=1000)


@given(truth=truths())
def test_at_full_clock_nothing_changes(truth):
    same = truth.at_clock(truth.max_clock_hz)
    assert same.step_seconds_by_batch == pytest.approx(truth.step_seconds_by_batch)
    assert same.decode_watts_by_batch == pytest.approx(truth.decode_watts_by_batch)
    assert same.prefill_watts == pytest.approx(truth.prefill_watts)
    assert same.idle_watts == pytest.approx(truth.idle_watts)
    assert chunk_joules(same) == pytest.approx(chunk_joules(truth))


@given(truth=truths(), first=shares, second=shares, batch=batches)
def test_a_lower_clock_is_never_faster_and_never_draws_more(truth, first, second, batch):
    low = truth.at_clock(clock_of(truth, min(first, second)))
    high = truth.at_clock(clock_of(truth, max(first, second)))
    slack = 1.0 + 1e-12
    tokens = 1000.0 * batch
    assert low.step_seconds(batch, kv_tokens=tokens) * slack >= high.step_seconds(
        batch, kv_tokens=tokens
    )
    assert low.prefill_seconds_per_token * slack >= high.prefill_seconds_per_token
    assert low.mixed_step_seconds * slack >= high.mixed_step_seconds
    assert low.decode_watts_by_batch[batch] <= high.decode_watts_by_batch[batch] * slack
    assert low.prefill_watts <= high.prefill_watts * slack
    assert truth.asleep_watts <= low.idle_watts <= high.idle_watts * slack


@given(truth=truths(), share=shares, batch=batches)
def test_decodes_mind_the_clock_less_than_prompts(truth, share, batch):
    slow = truth.at_clock(clock_of(truth, share))
    decode = slow.step_seconds_by_batch[batch] / truth.step_seconds_by_batch[batch]
    prefill = slow.prefill_seconds_per_token / truth.prefill_seconds_per_token
    assert decode <= prefill
    assert (
        slow.decode_watts_by_batch[batch] / truth.decode_watts_by_batch[batch]
        >= slow.prefill_watts / truth.prefill_watts - 1e-12
    )


@example(truth=ROUNDED, lock=1.0, share=1.192092896e-07)
@given(truth=truths(), lock=shares, share=shares)
def test_a_power_limit_is_never_exceeded_and_slows_no_more_than_it_must(truth, lock, share):
    floor = truth.at_clock(truth.asleep_clock_hz)
    least = max(floor.prefill_watts, *floor.decode_watts_by_batch)
    limit_watts = least + 1.0 + share * truth.prefill_watts
    clock_hz = clock_of(truth, lock)
    free, limited = truth.at_clock(clock_hz), truth.at_clock(clock_hz, limit_watts=limit_watts)
    # The clock is found from the limit, and the watts from the clock: there and back rounds.
    assert limited.prefill_watts <= limit_watts * (1.0 + 1e-12)
    assert max(limited.decode_watts_by_batch) <= limit_watts * (1.0 + 1e-12)
    for batch, watts in enumerate(free.decode_watts_by_batch):
        if watts <= limit_watts:  # a limit above what decodes draw does nothing to them
            assert limited.decode_watts_by_batch[batch] == watts
            assert limited.step_seconds_by_batch[batch] == free.step_seconds_by_batch[batch]
        else:
            assert math.isclose(limited.decode_watts_by_batch[batch], limit_watts, rel_tol=1e-6)
    if free.prefill_watts > limit_watts:
        assert math.isclose(limited.prefill_watts, limit_watts, rel_tol=1e-6)


@given(truth=truths(), share=st.floats(0.0, 0.9))
def test_a_limit_that_no_clock_can_keep_is_refused(truth, share):
    floor = truth.at_clock(truth.asleep_clock_hz)
    least = max(floor.prefill_watts, *floor.decode_watts_by_batch)
    with pytest.raises(ValueError, match="no clock keeps that limit"):
        truth.at_limit(share * least)


@given(truth=truths(), share=shares)
def test_the_energy_of_a_prompt_is_least_between_the_lowest_and_the_full_clock(truth, share):
    knee_hz = truth.max_clock_hz * (
        1.0 - (1.0 - truth.clock_response.voltage_floor) / truth.clock_response.voltage_slope
    )
    above_hz = knee_hz + share * (truth.max_clock_hz - knee_hz)
    joules = chunk_joules(truth.at_clock(min(above_hz, truth.max_clock_hz)))
    least = chunk_joules(truth.at_clock(knee_hz))
    assert least < 0.8 * chunk_joules(truth)
    assert least < chunk_joules(truth.at_clock(truth.asleep_clock_hz))
    assert joules >= least * (1.0 - 1e-12)


@given(truth=truths(), clock_hz=st.floats(0.0, 4e9))
def test_only_a_clock_in_range_and_a_replica_at_full_clock_are_taken(truth, clock_hz):
    if truth.asleep_clock_hz <= clock_hz < truth.max_clock_hz:
        slow = truth.at_clock(clock_hz)
        assert slow.clock_hz == clock_hz
        with pytest.raises(ValueError, match="not of a slowed one"):
            slow.at_clock(clock_hz)
    elif clock_hz != truth.max_clock_hz:
        with pytest.raises(ValueError, match="clock must be in"):
            truth.at_clock(clock_hz)


@given(
    configuration=st.sampled_from(CONFIGURATIONS),
    batch=st.integers(0, MAX_BATCH),
    context=st.integers(1, 4000),
)
def test_every_configuration_steps_and_draws_within_its_boards(configuration, batch, context):
    accelerator, model, gpus = configuration
    truth = truth_of(accelerator, model, gpus=gpus)
    assert truth.step_seconds(batch, kv_tokens=batch * context) > 0.0
    assert truth.asleep_watts < truth.idle_watts < truth.decode_watts_by_batch[batch]
    assert truth.decode_watts_by_batch[batch] <= truth.prefill_watts
    assert truth.gpus == gpus
