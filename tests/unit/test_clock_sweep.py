"""What a sweep makes of its windows: verdicts, the choice, and the model beside it."""

from itertools import pairwise

import pytest
from builders import make_fleet
from hypothesis import given
from hypothesis import strategies as st

from capper.clocks.prediction import predicted
from capper.clocks.sweep import Limits, Point, Verdict, best_of, clocks_to_try, point_of
from capper.decide.clock_model import ClockCurve
from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot

FLEET = make_fleet()
BACKEND = FLEET.backends[0]
ADDRESSES = tuple(one.address for one in BACKEND.replicas)
LIMITS = Limits(tpot_seconds=0.05, min_tokens=100.0)
SECONDS = 60.0


def window(*, tokens=6000.0, joules=30_000.0, running=5.0, watts=500.0, late_seconds=0.0):
    """Two snapshots a minute apart; rates and sums of each replica."""

    def at(seconds, grown):
        values = {
            SignalKind.GENERATION_TOKENS_TOTAL: 1e6 + grown * tokens,
            SignalKind.PROMPT_TOKENS_TOTAL: grown * 10.0 * tokens,
            SignalKind.REQUESTS_FINISHED_TOTAL: grown * tokens / 200.0,
            SignalKind.ENERGY_JOULES_TOTAL: grown * joules,
            SignalKind.RUNNING_REQUESTS: running,
            SignalKind.POWER_WATTS: watts,
        }
        signals = {
            address: {kind: Signal(value, seconds - late_seconds) for kind, value in values.items()}
            for address in ADDRESSES
        }
        return FleetSnapshot(fleet=FLEET, signals=signals, published_seconds=seconds)

    return [at(100.0, 0.0), at(100.0 + SECONDS, 1.0)]


def point(**fields):
    return point_of(1.5e9, window(**fields), ADDRESSES, LIMITS)


def test_a_window_is_tokens_joules_time_per_token_and_the_most_watts():
    count = len(ADDRESSES)
    found = point()
    assert found.tokens == pytest.approx(6000.0 * count)
    assert found.tokens_per_joule == pytest.approx(0.2)
    assert found.tpot_seconds == pytest.approx(5.0 * SECONDS / 6000.0)
    assert found.watts == 500.0 * count
    assert found.verdict is Verdict.KEPT
    # Readings that come late change nothing: each counter has its own times.
    assert point(late_seconds=3.0) == found


@pytest.mark.parametrize(
    ("fields", "limits", "verdict"),
    [
        ({"running": 6.0}, LIMITS, Verdict.TPOT),
        ({"tokens": 1.0}, LIMITS, Verdict.NO_LOAD),
        ({"joules": 0.0}, LIMITS, Verdict.NO_LOAD),
        ({}, Limits(tpot_seconds=0.05, cap_watts=100.0), Verdict.CAP),
    ],
)
def test_verdicts(fields, limits, verdict):
    assert point_of(1.5e9, window(**fields), ADDRESSES, limits).verdict is verdict


def test_what_is_not_told_of_every_replica_or_is_frozen_is_unmeasured():
    first, last = window()
    assert point_of(1.5e9, [first, last], (*ADDRESSES, "10.9.9.9:1"), LIMITS).verdict is (
        Verdict.UNMEASURED
    )
    assert point_of(1.5e9, [first, first], ADDRESSES, LIMITS).verdict is Verdict.UNMEASURED
    assert point_of(1.5e9, [first, last], (), LIMITS).verdict is Verdict.UNMEASURED


def made(hertz, worth, verdict=Verdict.KEPT):
    return Point(hertz=hertz, verdict=verdict, seconds=60.0, tokens=worth * 100.0, joules=100.0)


def test_the_best_must_be_worth_a_lock():
    full = made(2e9, 1.0)
    assert best_of([full, made(1.5e9, 1.2), made(1e9, 1.1)], LIMITS).hertz == 1.5e9
    assert best_of([full, made(1.5e9, 1.005)], LIMITS) is None
    assert best_of([full, made(1.5e9, 1.5, Verdict.TPOT)], LIMITS) is None
    # A full clock over the cap is none, however good.
    assert best_of([made(2e9, 9.0, Verdict.CAP), made(1e9, 1.0)], LIMITS).hertz == 1e9


@given(
    worths=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=8),
    verdicts=st.lists(st.sampled_from(Verdict), min_size=8, max_size=8),
)
def test_only_what_keeps_its_limits_is_chosen_and_nothing_kept_is_better(worths, verdicts):
    points = [
        made(2e9 - 1e8 * number, worth, verdict)
        for number, (worth, verdict) in enumerate(zip(worths, verdicts, strict=False))
    ]
    best = best_of(points, LIMITS)
    if best is not None:
        assert best.verdict is Verdict.KEPT
        kept = [one.tokens_per_joule for one in points if one.verdict is Verdict.KEPT]
        assert best.tokens_per_joule == max(kept)


@given(low=st.floats(3e8, 1e9), width=st.floats(0.0, 2e9), step=st.floats(1e7, 1e9))
def test_clocks_go_down_from_the_highest_to_the_lowest(low, width, step):
    tried = clocks_to_try(lowest_hertz=low, highest_hertz=low + width, step_hertz=step)
    assert tried[0] == low + width
    assert tried[-1] == pytest.approx(low, rel=1e-6)
    assert tried == sorted(tried, reverse=True)
    assert all(a - b <= step * 1.001 for a, b in pairwise(tried))


def test_the_model_needs_a_load_and_stays_above_its_knee():
    curve = ClockCurve(base_hertz=1.98e9, knee_hertz=1.1e9, static_watts=70.0)
    found = predicted(BACKEND, curve, window(), LIMITS)
    assert 1.1e9 <= found.hertz <= 1.98e9
    assert found.saved_ratio >= 0.0
    assert predicted(BACKEND, curve, window(running=0.0), LIMITS) is None
    assert predicted(BACKEND, curve, window(tokens=0.0), LIMITS) is None
