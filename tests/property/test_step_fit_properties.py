"""The fit never breaks, whatever it is fed, and finds the truth when it is fed the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.batch_ratios import POINTS
from router.decide.step_fit import StepFit

shares = st.floats(min_value=1e-6, max_value=50.0)
intervals = st.tuples(
    st.floats(min_value=1.0, max_value=2000.0), shares, shares, st.floats(0.01, 60.0)
)


def fitted(rows):
    fit = StepFit()
    for batch, decode_share, prompt_share, seconds in rows:
        fit.add(batch=batch, decode_share=decode_share, prompt_share=prompt_share, seconds=seconds)
    return fit.ratios()


def test_nothing_seen_is_no_correction():
    assert fitted([]) == ((1.0,) * POINTS, 1.0)


@given(st.lists(intervals, max_size=40))
def test_corrections_are_always_bounded_numbers(rows):
    by_batch, prompt = fitted(rows)

    assert len(by_batch) == POINTS
    assert all(0.25 <= ratio <= 4.0 for ratio in (*by_batch, prompt))


@given(
    st.floats(min_value=0.5, max_value=2.0),
    st.floats(min_value=0.5, max_value=2.0),
    st.sampled_from([1.0, 8.0, 64.0, 512.0]),
)
def test_decodes_and_prompts_are_found_when_their_shares_vary(decode, prompt, batch):
    rows = []
    for step in range(300):
        busy_with_prompts = 0.1 + 0.6 * (step % 2)
        rows.append((batch, (1 - busy_with_prompts) / decode, busy_with_prompts / prompt, 1.0))

    by_batch, prompts = fitted(rows)

    index = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0].index(batch)
    assert by_batch[index] == pytest.approx(decode, rel=0.1)
    assert prompts == pytest.approx(prompt, rel=0.1)


@given(st.floats(min_value=0.5, max_value=2.0))
def test_a_uniform_slowness_is_blamed_on_both_alike(ratio):
    by_batch, prompts = fitted([(32.0, 0.7 / ratio, 0.3 / ratio, 1.0)] * 300)

    assert by_batch[5] == pytest.approx(ratio, rel=0.1)
    assert prompts == pytest.approx(ratio, rel=0.25)
