"""Profiles move towards what is measured, within bounds, and never on bad readings."""

import dataclasses
import itertools

import pytest
from builders import make_fleet, make_snapshot

from fleet.signals import FreshnessPolicy, SignalKind
from router.decide.learning import Learner

FLEET = make_fleet({"H100": 2})
BACKEND = FLEET.backends[0]
FRESH = FreshnessPolicy()
CLOCK = itertools.count()


def watch(
    learner,
    *,
    time_ratio=1.0,
    power_ratio=1.0,
    batch=40.0,
    seconds=300,
    watts=None,
    prompts_per_second=0.0,
    step=None,
):
    """Feed a steady load of a replica that differs from the prior by the ratios."""
    truth = BACKEND.profile.scaled(time_ratio=time_ratio, power_ratio=power_ratio)
    truth = truth if step is None else dataclasses.replace(truth, step=step)
    prefill_share = prompts_per_second * truth.step.prompt_seconds(1000)
    decode_seconds = truth.step.decode_seconds(batch, 40_000)
    readings = {
        SignalKind.RUNNING_REQUESTS: batch,
        SignalKind.KV_USAGE_RATIO: 0.1,
        SignalKind.KV_CAPACITY_TOKENS: 400_000.0,
        SignalKind.GENERATION_TOKENS_PER_SECOND: batch * (1 - prefill_share) / decode_seconds,
        SignalKind.PROMPT_TOKENS_PER_SECOND: 1000.0 * prompts_per_second,
    }
    decode_watts, prefill_watts = truth.power.decode_watts(batch), truth.power.prefill_watts
    power = (1 - prefill_share) * decode_watts + prefill_share * prefill_watts
    power = power if watts is None else watts
    readings[SignalKind.POWER_WATTS] = power
    start = next(CLOCK) * 10_000
    for second in range(start, start + seconds):
        snapshot = make_snapshot(
            FLEET, {r.address: readings for r in FLEET.replicas()}, at_seconds=float(second)
        )
        for _ in learner.observing(snapshot, FRESH, now_seconds=float(second)):
            pass


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("batch", [2.0, 40.0, 200.0])
def test_corrections_reach_what_is_measured_within_five_minutes(ratio, batch):
    learner = Learner()

    watch(learner, time_ratio=ratio, power_ratio=2.0 - ratio, batch=batch)

    learned = learner.profile(BACKEND)
    truth = BACKEND.profile.scaled(time_ratio=ratio, power_ratio=2.0 - ratio)
    assert learned.step.decode_seconds(batch, 40_000) == pytest.approx(
        truth.step.decode_seconds(batch, 40_000), rel=0.05
    )
    assert learned.power.decode_watts(batch) == pytest.approx(
        truth.power.decode_watts(batch), rel=0.05
    )


def test_what_is_learned_at_one_batch_is_the_best_guess_at_others():
    learner = Learner()

    watch(learner, time_ratio=1.3, batch=40.0)

    ratios = learner.corrections("h100").time_ratios
    assert all(1.1 < ratio <= 1.35 for ratio in ratios)


def test_batches_that_behave_differently_are_told_apart():
    learner = Learner()
    for _ in range(5):
        watch(learner, time_ratio=0.8, batch=16.0, seconds=60)
        watch(learner, time_ratio=1.6, batch=128.0, seconds=60)

    profile, prior = learner.profile(BACKEND).step, BACKEND.profile.step
    for batch, ratio in ((16.0, 0.8), (128.0, 1.6)):
        assert profile.decode_seconds(batch, 0) == pytest.approx(
            ratio * prior.decode_seconds(batch, 0), rel=0.08
        )


def test_prompts_are_told_from_decodes_when_their_shares_vary():
    learner = Learner()
    slow_prompts = dataclasses.replace(
        BACKEND.profile.step,
        per_prompt_token_seconds=2 * BACKEND.profile.step.per_prompt_token_seconds,
        per_prompt_token_squared_seconds=0.0,
    )
    for _ in range(20):
        for rate in (0.0, 20.0):
            watch(learner, step=slow_prompts, prompts_per_second=rate, seconds=15)

    learned = learner.corrections("h100")
    assert learned.prompt_ratio == pytest.approx(2.0, rel=0.15)
    assert learned.time_ratios[5] == pytest.approx(1.0, rel=0.05)


def test_corrections_stay_within_their_bounds():
    learner = Learner()

    watch(learner, time_ratio=500.0, power_ratio=300.0)

    learned = learner.corrections("h100")
    assert max(learned.time_ratios) <= 4.0
    assert max(learned.power_ratios) <= 4.0


def test_an_idle_or_missing_reading_teaches_nothing():
    learner = Learner()

    watch(learner, batch=0.5, time_ratio=1.9)
    assert learner.corrections("h100").time_ratios == ()

    watch(learner, watts=1.0, seconds=30)
    assert learner.corrections("h100").power_ratios == ()


def test_the_profile_is_the_same_object_until_a_correction_moves():
    learner = Learner()
    first = learner.profile(BACKEND)

    assert learner.profile(BACKEND) is first
    watch(learner, time_ratio=1.5)
    assert learner.profile(BACKEND) is not first


def test_many_prompts_a_second_are_not_one_prompt_of_that_length():
    # Attention is quadratic in a prompt's length: 20 prompts of 1,000 tokens are far cheaper than
    # one of 20,000, and a busy replica once looked 30 % faster than it was.
    learner = Learner()

    watch(learner, prompts_per_second=20.0)

    learned = learner.corrections("h100")
    assert learned.prompt_ratio == pytest.approx(1.0, rel=0.05)
    assert learned.time_ratios[5] == pytest.approx(1.0, rel=0.05)
    assert learned.power_ratios[5] == pytest.approx(1.0, rel=0.05)
