"""Growth of targets whose watts nobody knows: never none below Watch, never past an even share."""

import math

from hypothesis import given
from hypothesis import strategies as st

from capper.decide.allocation import Budget, grow
from capper.decide.domains import DomainTree
from capper.decide.observation import TargetReading
from capper.decide.policy import ROOT, DomainPolicy, TargetPolicy
from capper.decide.state import Band, TargetState
from capper.decide.tuning import Freshness
from capper.decide.workload import view_target

TREE = DomainTree([DomainPolicy(name=ROOT)])
FREE_RATIO = 0.12
crowds = st.lists(st.integers(0, 50), min_size=1, max_size=5)
watts = st.floats(0.0, 1e6)


def targets(counts):
    """So many replicas each, of which only the counts are known."""
    return [
        view_target(
            TargetPolicy(ref=f"t{number}"),
            TargetReading(spec_replicas=count, max_replicas=10_000),
            TargetState(),
            TREE,
            Freshness(),
        )
        for number, count in enumerate(counts)
    ]


def grown(counts, cap, drawn, band=Band.NORMAL):
    budgets = {ROOT: Budget(cap_watts=cap, watts=drawn)}
    workloads = targets(counts)
    bands = {one.ref: band for one in workloads}
    return grow(workloads, budgets, bands, free_ratio=FREE_RATIO)


@given(crowds, watts, watts)
def test_below_watch_growth_stays_within_even_shares_and_is_at_least_one(counts, cap, drawn):
    spare = cap * (1.0 - FREE_RATIO) - drawn
    granted = grown(counts, cap, drawn)
    if spare < 0.0:
        assert set(granted.values()) == {0}
        return
    replicas = sum(counts)
    each = drawn / replicas if replicas else math.inf
    for growth in granted.values():
        assert growth >= 1
        assert growth == 1 or growth * each * len(counts) <= spare * (1.0 + 1e-6) + 1e-6


@given(crowds, watts, watts, watts)
def test_a_lower_cap_never_gives_more(counts, cap, other, drawn):
    low, high = sorted((cap, other))
    less, more = grown(counts, low, drawn), grown(counts, high, drawn)
    assert all(less[ref] <= more[ref] for ref in less)


@given(crowds, watts, watts)
def test_bands_still_decide(counts, cap, drawn):
    assert max(grown(counts, cap, drawn, Band.WATCH).values()) <= 1
    assert set(grown(counts, cap, drawn, Band.RESTRICT).values()) == {0}


@given(crowds, watts)
def test_no_cap_at_all_is_no_error(counts, drawn):
    assert min(grown(counts, math.inf, drawn).values()) >= 1
