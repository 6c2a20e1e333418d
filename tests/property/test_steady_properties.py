"""The best steady states: where they lie between the bounds and what policies can do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.bounds import SLICE_SECONDS, ReplicaClass, Work, bounds
from loadtest.engine_state import Limits
from loadtest.steady import steady_joules_per_token
from loadtest.truth import truth_of

H100, B200 = truth_of("H100"), truth_of("B200")
SLICES = 4


def steady(work, *classes, tpot=0.05):
    return steady_joules_per_token(work, classes, tpot_objective_seconds=tpot)


def work_of(rates, *, prompt_tokens=1000, output_tokens=201):
    """Requests by slice, rates in requests/s."""
    work = Work(window_seconds=SLICE_SECONDS * len(rates))
    for number, rate in enumerate(rates):
        for _ in range(round(rate * SLICE_SECONDS)):
            work.add(
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                at_seconds=number * SLICE_SECONDS,
            )
    return work


rates = st.lists(st.floats(0.2, 12.0), min_size=SLICES, max_size=SLICES)
fleets = st.tuples(st.integers(1, 3), st.integers(0, 2)).map(
    lambda counts: [
        ReplicaClass(truth, Limits(), count)
        for truth, count in zip((H100, B200), counts, strict=True)
        if count
    ]
)


@settings(max_examples=30)
@given(rates, fleets, st.integers(10, 3000), st.integers(2, 500))
def test_no_steady_state_undercuts_the_linear_bound(rates, fleet, prompt, output):
    work = work_of(rates, prompt_tokens=prompt, output_tokens=output)
    found = steady(work, *fleet)
    bound = bounds(work, fleet, tpot_objective_seconds=0.05).colocated_always_on
    if found is not None:
        assert bound is not None
        assert found >= bound * (1 - 1e-6)


@settings(max_examples=20)
@given(rates)
def test_a_tighter_objective_never_takes_less(rates):
    fleet = [ReplicaClass(H100, Limits(), 3)]
    work = work_of(rates)
    loose, tight = steady(work, *fleet, tpot=0.05), steady(work, *fleet, tpot=0.02)
    assert loose is not None
    assert tight is None or tight >= loose * (1 - 1e-9)


def test_what_nobody_can_carry_has_no_steady_state():
    assert steady(work_of([200.0]), ReplicaClass(H100, Limits(), 1)) is None
    assert steady(Work(window_seconds=10.0), ReplicaClass(H100, Limits(), 1)) is None


def test_one_board_at_a_load_of_one_batch_takes_what_can_be_reckoned_by_hand():
    batch, output, prompt = 8, 201, 1000
    resident = prompt + output / 2
    step = H100.step_seconds(batch, kv_tokens=batch * resident)
    mixed = H100.mixed_step_seconds * (1 - 2.718281828 ** -(batch / 200)) / (batch / 200)
    decode = 200 / batch * step + mixed
    prefill = H100.chunk_seconds(done_tokens=0, new_tokens=prompt)
    rate = 1 / (decode + prefill)
    work = Work(window_seconds=SLICE_SECONDS)
    for _ in range(round(rate * SLICE_SECONDS)):
        work.add(prompt_tokens=prompt, output_tokens=output)
    watts = rate * (
        decode * H100.decode_watts_by_batch[batch] + prefill * H100.prefill_watts
    ) + H100.idle_watts * (1 - rate * (decode + prefill))
    found = steady(work, ReplicaClass(H100, Limits(), 1))
    assert found == pytest.approx(watts / (rate * output), rel=0.03)
