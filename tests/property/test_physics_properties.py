"""Physics that every profile obeys."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.physics import (
    Mix,
    capacity_requests_per_second,
    dynamic_watts,
    largest_batch,
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


@given(profiles, mixes, st.floats(min_value=0.001, max_value=1.0))
def test_the_largest_batch_keeps_the_limit_unless_even_one_breaks_it(profile, mix, limit_seconds):
    batch = largest_batch(profile, mix, tpot_limit_seconds=limit_seconds, max_running_requests=256)

    predicted = tpot_seconds(profile, batch=batch, kv_tokens=batch * mix.resident_tokens, mix=mix)
    assert 1.0 <= batch <= 256
    assert batch == 1.0 or predicted <= limit_seconds * (1 + 1e-9)


@given(profiles, mixes, batches)
def test_mean_power_rises_with_the_rate_up_to_the_capacity(profile, mix, batch):
    capacity = capacity_requests_per_second(profile, mix, batch=batch)
    watts = [dynamic_watts(profile, mix, requests_per_second=capacity * k / 8) for k in range(9)]

    assert watts[0] == 0.0
    assert all(math.isfinite(value) for value in watts)
    assert all(value >= 0.0 for value in watts)
    ceiling = max(profile.power.prefill_watts, profile.power.floor_watts + profile.power.span_watts)
    assert max(watts) <= ceiling - profile.power.idle_watts + 1e-6


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
