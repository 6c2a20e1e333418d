"""Profiles move towards what is measured, within bounds, and never on bad readings."""

import pytest
from builders import make_fleet, make_snapshot

from fleet.signals import FreshnessPolicy, SignalKind
from router.decide.learning import Learner

FLEET = make_fleet({"H100": 2})
BACKEND = FLEET.backends[0]
FRESH = FreshnessPolicy()


def watch(
    learner,
    *,
    time_ratio=1.0,
    power_ratio=1.0,
    batch=40.0,
    seconds=300,
    watts=None,
    prompts_per_second=0.0,
):
    """Feed a steady load of a replica that differs from the prior by the ratios."""
    truth = BACKEND.profile.scaled(time_ratio=time_ratio, power_ratio=power_ratio)
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
    for second in range(seconds):
        snapshot = make_snapshot(
            FLEET, {r.address: readings for r in FLEET.replicas()}, at_seconds=float(second)
        )
        learner.observe(snapshot, FRESH, now_seconds=float(second))


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.3])
def test_gains_reach_what_is_measured_within_five_minutes(ratio):
    learner = Learner()

    watch(learner, time_ratio=ratio, power_ratio=2.0 - ratio)

    time_ratio, power_ratio = learner.gains("h100")
    assert time_ratio == pytest.approx(ratio, rel=0.05)
    assert power_ratio == pytest.approx(2.0 - ratio, rel=0.05)


def test_gains_stay_within_their_bounds():
    learner = Learner()

    watch(learner, time_ratio=50.0, power_ratio=30.0)

    assert learner.gains("h100") == (pytest.approx(2.0, rel=0.05), pytest.approx(2.0, rel=0.05))


def test_an_idle_or_missing_reading_teaches_nothing():
    learner = Learner()

    watch(learner, batch=0.5, time_ratio=1.9)
    watch(learner, watts=1.0, seconds=30)

    assert learner.gains("h100")[1] == 1.0


def test_the_profile_is_the_same_object_until_a_gain_moves():
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

    assert learner.gains("h100")[0] == pytest.approx(1.0, rel=0.05)
    assert learner.gains("h100")[1] == pytest.approx(1.0, rel=0.05)
