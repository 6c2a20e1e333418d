"""Profiles at another clock, and the clocks that are worth setting."""

import pytest

from capper.decide.clocked import PhaseClocks, packed_points, profile_at_clock, prompt_ratio
from fleet.physics import Mix, tpot_seconds
from fleet.priors import prior_profile

PROFILE = prior_profile("H100", parameters=8.03e9)
CLOCKS = PhaseClocks(base_hertz=1.98e9, knee_hertz=1.54e9, static_watts=70.0)
MIX = Mix(prompt_tokens=1200.0, computed_prompt_tokens=1200.0, output_tokens=210.0)


def test_at_full_clock_a_profile_is_itself_and_below_it_slower_and_cheaper():
    full = profile_at_clock(PROFILE, CLOCKS, CLOCKS.base_hertz)
    assert full.step == PROFILE.step
    assert full.power.decode_watts(64) == pytest.approx(PROFILE.power.decode_watts(64))
    low = profile_at_clock(PROFILE, CLOCKS, CLOCKS.knee_hertz)
    assert low.step.prompt_seconds(1000) > PROFILE.step.prompt_seconds(1000)
    assert low.step.decode_seconds(64, 6e4) > PROFILE.step.decode_seconds(64, 6e4)
    for batch in (1, 16, 256):
        assert low.power.idle_watts <= low.power.decode_watts(batch)
        assert low.power.decode_watts(batch) < PROFILE.power.decode_watts(batch)
    assert 0.0 < prompt_ratio(PROFILE, MIX, batch=64.0) < 1.0


def test_packed_points_keep_the_objective_and_each_carries_more_for_more_joules():
    points = packed_points(PROFILE, CLOCKS, MIX, tpot_limit_seconds=0.0435)
    assert len(points) > 2
    for point in points:
        there = profile_at_clock(PROFILE, CLOCKS, point.hertz)
        kv_tokens = point.batch * MIX.resident_tokens
        tpot = tpot_seconds(there, batch=point.batch, kv_tokens=kv_tokens, mix=MIX)
        assert tpot <= 0.0435
    rates = [point.requests_per_second for point in points]
    assert rates == sorted(rates)
    assert points[0].joules_per_token == min(point.joules_per_token for point in points)
    assert points[0].joules_per_token < 0.9 * points[-1].joules_per_token
