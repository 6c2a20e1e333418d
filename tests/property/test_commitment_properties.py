"""Commitment carries the load, cheaply, and does not flap."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fleet.operating import OperatingCurve
from fleet.physics import Mix
from fleet.priors import prior_profile
from router.decide.commitment import (
    Commitment,
    CommitmentPolicy,
    Lot,
    _Pricer,
    commit,
    room_for,
)

MIX = Mix(prompt_tokens=1155, computed_prompt_tokens=1155, output_tokens=211)
POLICY = CommitmentPolicy(reserve_deviations=1.5, gain_ratio=0.05, dwell_seconds=10.0)


def lot(accelerator, count, *, used_ratio=0.0):
    profile = prior_profile(accelerator, parameters=8e9)
    curve = OperatingCurve(profile, MIX)
    batch = curve.largest_batch(tpot_limit_seconds=0.03, max_running_requests=256)
    return Lot(
        members=tuple(f"{accelerator}-{index:04d}" for index in range(count)),
        curve=curve,
        price_ratio=1.0,
        merit_joules={"B200": 1.0, "H100": 2.0, "A100": 3.0}[accelerator],
        capacity_requests_per_second=curve.requests_per_second(batch),
        used_ratio=used_ratio,
    )


fleets = st.tuples(
    st.integers(min_value=0, max_value=3),
    st.integers(min_value=0, max_value=3),
    st.integers(min_value=0, max_value=2),
).map(lambda n: [lot(a, k) for a, k in zip(("A100", "H100", "B200"), n, strict=True) if k])
rates = st.floats(min_value=0.05, max_value=120.0)


@given(fleets, rates)
def test_the_set_carries_the_load_whenever_all_replicas_could(lots, rate):
    chosen = commit(lots, Commitment(), POLICY, requests_per_second=rate, now_seconds=0)

    everything = sum(len(x.members) * x.capacity_requests_per_second for x in lots)
    carried = sum(
        x.capacity_requests_per_second for x in lots for m in x.members if m in chosen.addresses
    )
    needed = rate * chosen.design_ratio
    assert carried >= min(everything, needed) - 1e-6
    if everything >= needed:
        assert chosen.shortfall_requests_per_second == 0.0


@given(fleets, rates)
def test_no_other_set_is_cheaper(lots, rate):
    chosen = commit(lots, Commitment(), POLICY, requests_per_second=rate, now_seconds=0)
    ordered = tuple(sorted(lots, key=lambda x: (x.merit_joules, x.members)))
    room = room_for(ordered, requests_per_second=rate, reserve_deviations=1.5)
    price = _Pricer(ordered, mean_requests_per_second=rate, room=room)
    counts = tuple(sum(m in chosen.addresses for m in x.members) for x in ordered)

    for other in itertools.product(*(range(len(x.members) + 1) for x in ordered)):
        assert price(counts) <= price(other)


@given(fleets, rates)
def test_the_same_load_again_keeps_the_set(lots, rate):
    chosen = commit(lots, Commitment(), POLICY, requests_per_second=rate, now_seconds=0)
    for second in range(1, 60):
        again = commit(lots, chosen, POLICY, requests_per_second=rate, now_seconds=second)
        assert again.addresses == chosen.addresses
        chosen = again


@given(fleets, rates, st.floats(min_value=1.0, max_value=4.0))
def test_a_set_that_has_become_too_small_only_grows(lots, rate, factor):
    before = commit(lots, Commitment(), POLICY, requests_per_second=rate, now_seconds=0)
    after = commit(lots, before, POLICY, requests_per_second=rate * factor, now_seconds=1)

    assert after.addresses >= before.addresses


@given(fleets, rates, st.lists(st.floats(min_value=0.9, max_value=1.1), min_size=1, max_size=30))
def test_a_set_that_is_left_stays_left_for_the_dwell_or_could_not_carry_the_load(lots, rate, noise):
    chosen = commit(lots, Commitment(), POLICY, requests_per_second=rate, now_seconds=0)
    changes = []
    for second, factor in enumerate(noise, start=1):
        again = commit(lots, chosen, POLICY, requests_per_second=rate * factor, now_seconds=second)
        if again.addresses != chosen.addresses:
            changes.append((second, len(again.addresses) >= len(chosen.addresses)))
        chosen = again

    shrinks = [second for second, grew in changes if not grew]
    assert all(b - a >= POLICY.dwell_seconds for a, b in itertools.pairwise(shrinks))


def test_a_thousand_replicas_are_planned_without_pricing_every_set():
    lots = [lot("A100", 400), lot("H100", 400), lot("B200", 200)]

    chosen = commit(lots, Commitment(), POLICY, requests_per_second=4000.0, now_seconds=0)

    assert chosen.shortfall_requests_per_second == 0.0
    assert 0 < len(chosen.addresses) < 1000


def test_what_another_model_took_of_a_replica_is_not_there_twice():
    fresh, used = lot("H100", 2), lot("H100", 2, used_ratio=0.9)
    rate = 0.5 * fresh.capacity_requests_per_second

    free = commit([fresh], Commitment(), POLICY, requests_per_second=rate, now_seconds=0)
    taken = commit([used], Commitment(), POLICY, requests_per_second=rate, now_seconds=0)

    assert len(free.addresses) == 1
    assert taken.shortfall_requests_per_second > 0


@given(fleets, rates, st.floats(min_value=0.0, max_value=1.0))
def test_a_load_that_swings_more_gets_no_less_room(lots, rate, swing_ratio):
    calm = commit(lots, Commitment(), POLICY, requests_per_second=rate, now_seconds=0)
    wild = commit(
        lots,
        Commitment(),
        POLICY,
        requests_per_second=rate,
        swing_ratio=swing_ratio,
        now_seconds=0,
    )

    assert wild.design_ratio >= calm.design_ratio


@given(fleets.filter(bool), rates)
def test_what_a_set_leaves_over_is_paid_for(lots, rate):
    ordered = tuple(sorted(lots, key=lambda x: (x.merit_joules, x.members)))
    room = room_for(ordered, requests_per_second=rate, reserve_deviations=1.5)
    price = _Pricer(ordered, mean_requests_per_second=rate, room=room)
    nothing = price((0,) * len(ordered))
    everything = price(tuple(len(x.members) for x in ordered))

    # Dispatch opens in merit order what no set foresaw: an empty set costs what all would.
    assert nothing.added_watts == everything.added_watts
    assert nothing.shortfall_requests_per_second >= everything.shortfall_requests_per_second
