"""Physics that every profile obeys."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.batch_ratios import POINTS, nearest_point, ratio_at
from fleet.operating import OperatingCurve
from fleet.physics import (
    Mix,
    prefill_dynamic_joules,
    step_dynamic_joules,
    tpot_seconds,
)
from fleet.priors import ACCELERATORS, prior_profile

profiles = st.builds(
    prior_profile,
    st.sampled_from(ACCELERATORS),
    parameters=st.floats(min_value=3e9, max_value=120e9),
    gpus_per_replica=st.sampled_from([1, 2, 4, 8]),
)
mixes = st.builds(
    Mix,
    prompt_tokens=st.floats(min_value=1, max_value=30_000),
    computed_prompt_tokens=st.just(0.0),
    output_tokens=st.floats(min_value=1, max_value=4000),
).flatmap(
    lambda mix: st.floats(min_value=0, max_value=1).map(
        lambda share: Mix(
            prompt_tokens=mix.prompt_tokens,
            computed_prompt_tokens=mix.prompt_tokens * share,
            output_tokens=mix.output_tokens,
        )
    )
)
batches = st.floats(min_value=1, max_value=512)


@given(profiles)
def test_an_empty_step_takes_no_dynamic_energy(profile):
    assert step_dynamic_joules(profile, batch=0, kv_tokens=0) == 0.0
    assert prefill_dynamic_joules(profile, new_tokens=0) == 0.0


@given(profiles, batches, st.floats(min_value=0, max_value=1e6))
def test_step_energy_grows_with_the_batch_and_energy_per_token_falls(profile, batch, kv_tokens):
    here = step_dynamic_joules(profile, batch=batch, kv_tokens=kv_tokens)
    more = step_dynamic_joules(profile, batch=batch + 1, kv_tokens=kv_tokens)

    assert 0.0 < here <= more


@given(profiles)
def test_power_lies_between_idle_and_floor_plus_span(profile):
    power = profile.power
    watts = [power.decode_watts(2.0**k) for k in range(12)]

    assert power.decode_watts(0) == power.idle_watts
    assert watts == sorted(watts)
    assert power.floor_watts <= watts[0]
    assert watts[-1] <= power.floor_watts + power.span_watts


ratios = st.just(()) | st.lists(
    st.floats(min_value=0.5, max_value=3), min_size=POINTS, max_size=POINTS
).map(tuple)
corrected = st.builds(
    lambda profile, times, powers: profile.corrected(
        time_ratios=times, prompt_ratio=1.3, power_ratios=powers
    ),
    profiles,
    ratios,
    ratios,
)


@given(corrected, mixes, st.floats(min_value=0.001, max_value=1.0), st.sampled_from([0.0, 1.0]))
def test_the_largest_batch_keeps_the_limit_unless_even_one_breaks_it(
    profile, mix, limit_seconds, deviations
):
    batch = OperatingCurve(profile, mix).largest_batch(
        tpot_limit_seconds=limit_seconds, max_running_requests=256, swing_deviations=deviations
    )

    predicted = tpot_seconds(profile, batch=batch, kv_tokens=batch * mix.resident_tokens, mix=mix)
    assert 1.0 <= batch <= 256
    # A straight line between points 9 % apart, and a correction that bends within them.
    assert batch == 1.0 or predicted <= limit_seconds * 1.15


@given(corrected, mixes, st.floats(min_value=1, max_value=256))
def test_mean_power_is_bounded_by_the_boards_and_rises_from_zero(profile, mix, batch):
    curve = OperatingCurve(profile, mix)
    rate = curve.requests_per_second(batch)

    watts = [curve.dynamic_watts(rate * k / 8) for k in range(9)]

    power = profile.power
    decode = max((power.decode_watts(2.0**k) for k in range(11)), default=0.0)
    ceiling = max(power.prefill_watts, decode) - power.idle_watts
    assert watts[0] == 0.0
    assert all(value >= 0.0 for value in watts)
    assert all(value <= ceiling * 1.001 or math.isinf(value) for value in watts)


@given(profiles, mixes, st.floats(min_value=1, max_value=256))
def test_the_rate_of_a_batch_keeps_that_batch_running(profile, mix, batch):
    curve = OperatingCurve(profile, mix)

    assert curve.batch(curve.requests_per_second(batch)) == pytest.approx(batch, rel=0.02)


@given(profiles, mixes)
def test_more_than_can_ever_be_served_costs_without_bound(profile, mix):
    assert math.isinf(OperatingCurve(profile, mix).dynamic_watts(1e9))


@given(ratios, st.floats(min_value=0, max_value=5000))
def test_a_correction_lies_between_its_neighbours(points, batch):
    value = ratio_at(points, batch)

    assert min(points, default=1.0) <= value <= max(points, default=1.0)
    assert 0 <= nearest_point(batch) < POINTS


@pytest.mark.parametrize("index", range(POINTS))
def test_a_correction_holds_exactly_at_its_points(index):
    points = tuple(1.0 + k / 10 for k in range(POINTS))

    assert ratio_at(points, 2.0**index) == pytest.approx(points[index])


@given(profiles, st.floats(min_value=0.5, max_value=2), st.floats(min_value=0.5, max_value=2))
def test_gains_scale_time_and_dynamic_power_only(profile, time_ratio, power_ratio):
    scaled = profile.scaled(time_ratio=time_ratio, power_ratio=power_ratio)

    assert scaled.power.idle_watts == profile.power.idle_watts
    assert step_dynamic_joules(scaled, batch=7, kv_tokens=900) == pytest.approx(
        time_ratio * power_ratio * step_dynamic_joules(profile, batch=7, kv_tokens=900)
    )


@given(profiles)
def test_every_profile_names_its_source_and_holds_a_prompt(profile):
    assert profile.source
    assert profile.kv_capacity_tokens >= 2048
