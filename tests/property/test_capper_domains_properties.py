"""Watts are conserved down any tree that a user may write, rings and strangers included."""

from hypothesis import given, settings
from hypothesis import strategies as st

from capper.decide.allocation import Budget, attributed, grow, keep
from capper.decide.domains import DomainTree
from capper.decide.observation import TargetReading
from capper.decide.policy import DomainPolicy, NamedCap, TargetPolicy
from capper.decide.state import Band, TargetState
from capper.decide.tuning import Freshness
from capper.decide.workload import view_target

NAMES = [f"d{number}" for number in range(6)]


@st.composite
def trees(draw):
    """Domains whose parents are anything: each other, themselves, nobody, a stranger."""
    domains = [
        DomainPolicy(
            name=name,
            parent=draw(st.sampled_from([None, "stranger", *NAMES])),
            caps=(NamedCap(source="cap", watts=draw(st.floats(100.0, 30_000.0))),),
        )
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    return DomainTree(domains)


@st.composite
def crowds(draw):
    """(tree, workloads, budgets) in which every domain draws at least what its targets claim."""
    tree = draw(trees())
    workloads = []
    for number in range(draw(st.integers(1, 5))):
        each, current = draw(st.floats(50.0, 3000.0)), draw(st.integers(0, 9))
        reading = TargetReading(
            spec_replicas=current,
            ready_replicas=current,
            max_replicas=draw(st.integers(current, 30)),
            watts=each * current,
            replica_watts_p95=each,
            tokens_per_joule=draw(st.none() | st.floats(0.0, 10.0)),
            domain_shares=draw(
                st.dictionaries(st.sampled_from(NAMES), st.floats(0.1, 1.0), max_size=3)
            ),
        )
        policy = TargetPolicy(
            ref=f"t{number}",
            domain=draw(st.sampled_from(NAMES)),
            min_replicas=draw(st.integers(0, 2)),
        )
        workloads.append(view_target(policy, reading, TargetState(), tree, Freshness()))
    budgets = {}
    for name, domain in tree.domains.items():
        claimed = sum(one.watts * one.shares.get(name, 0.0) for one in workloads)
        cap = domain.cap.watts if domain.cap else 1e9
        budgets[name] = Budget(cap_watts=cap, watts=claimed + draw(st.floats(0.0, 500.0)))
    return tree, workloads, budgets


@given(trees())
def test_every_path_ends_at_the_one_root_and_passes_nobody_twice(tree):
    for name in [*tree.domains, "stranger"]:
        path = tree.path(name)
        assert path[-1] == tree.root
        assert len(path) == len(set(path))
    assert set(tree.leaves()) <= set(tree.domains)
    for parent in tree.domains:
        for child in tree.children(parent):
            assert tree.path(child)[1] == parent


@settings(max_examples=80)
@given(crowds())
def test_what_is_kept_fits_in_every_domain_whose_floors_fit(crowd):
    tree, workloads, budgets = crowd
    kept, watts = keep(workloads, budgets), attributed(workloads, budgets)
    each = {one.ref: watts[one.ref] / one.current if one.current else 0.0 for one in workloads}

    def drawn(name, counts):
        claimed = sum(one.shares.get(name, 0.0) * watts[one.ref] for one in workloads)
        rest = budgets[name].watts - claimed
        return rest + sum(
            one.shares.get(name, 0.0) * each[one.ref] * counts[one.ref] for one in workloads
        )

    floors = {one.ref: min(one.floor, one.current) for one in workloads}
    for name in tree.domains:
        cap = budgets[name].cap_watts
        if drawn(name, floors) <= cap:
            assert drawn(name, kept) <= cap * (1.0 + 1e-6)
    for one in workloads:
        assert floors[one.ref] <= kept[one.ref] <= one.current
    if all(budget.watts <= budget.cap_watts for budget in budgets.values()):
        assert kept == {one.ref: one.current for one in workloads}


@settings(max_examples=80)
@given(crowds(), st.floats(0.0, 0.5))
def test_admitted_growth_fits_with_its_margin_in_every_domain(crowd, free_ratio):
    tree, workloads, budgets = crowd
    calm = dict.fromkeys((one.ref for one in workloads), Band.NORMAL)
    more = grow(workloads, budgets, calm, free_ratio=free_ratio)
    for name in tree.domains:
        added = sum(
            one.shares.get(name, 0.0) * (one.next_watts or 0.0) * more[one.ref] for one in workloads
        )
        if added > 0.0:
            budget = budgets[name]
            room = budget.cap_watts * (1.0 - free_ratio) - budget.watts
            assert added <= room * (1.0 + 1e-6) + 1e-6
    for one in workloads:
        assert one.current + more[one.ref] <= one.ceiling
