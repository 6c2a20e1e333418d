"""What a replay may be asked for, and the prompts that it makes up."""

import pytest

from loadtest.client import ReplayOptions, filler_prompt
from loadtest.prompts import render_chat, text_prompt


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_scale": 0.0},
        {"deadline_seconds": -1.0},
        {"request_timeout_seconds": 0.0},
        {"aborted_ratio": 1.1},
        {"non_streamed_ratio": float("nan")},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        ReplayOptions(**wrong)


@pytest.mark.parametrize("tokens", [3, 4, 50, 14_050])
def test_a_filler_prompt_has_the_wanted_length(tokens):
    prompts = [filler_prompt(tokens, seed) for seed in (0, 1, 0xFFFF_FFFF_FFFF)]
    assert {text_prompt(render_chat([("user", prompt)])).tokens for prompt in prompts} == {tokens}
    assert all(prompt.isascii() for prompt in prompts)


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_a_filler_prompt_is_never_empty(tokens):
    assert filler_prompt(tokens, 7) == filler_prompt(3, 7) != ""
