"""Replicas that sleep still draw watts: the cut that the demo's cap step needs counts them."""

import pytest

from capper.decide.allocation import Budget, keep
from capper.decide.domains import DomainTree
from capper.decide.observation import TargetReading
from capper.decide.policy import DomainPolicy, NamedCap, TargetKind, TargetPolicy
from capper.decide.state import TargetState
from capper.decide.tuning import Freshness
from capper.decide.workload import view_target

TREE = DomainTree(
    [DomainPolicy(name="fleet", caps=(NamedCap(source="powerCapLimit", watts=1000.0),))]
)


def backend(name, *, awake, watts, tokens_per_second):
    return view_target(
        TargetPolicy(
            ref=f"Deployment/default/{name}",
            kind=TargetKind.DEPLOYMENT,
            backend=name,
            domain="fleet",
            min_replicas=0,
        ),
        TargetReading(
            age_seconds=0.0,
            spec_replicas=awake,
            status_replicas=awake,
            ready_replicas=awake,
            max_replicas=3,
            watts=watts,
            output_tokens_per_second=tokens_per_second,
            tokens_per_joule=tokens_per_second / watts,
        ),
        TargetState(),
        TREE,
        Freshness(),
    )


@pytest.mark.parametrize(("asleep_watts", "kept"), [(0.0, 3), (150.0, 3), (151.0, 2), (400.0, 2)])
def test_what_a_backend_draws_with_all_replicas_asleep_is_not_there_for_others(asleep_watts, kept):
    fleet = [
        backend("a100", awake=0, watts=asleep_watts or 1e-9, tokens_per_second=0.0),
        backend("h100", awake=3, watts=850.0, tokens_per_second=2000.0),
    ]
    budgets = {"fleet": Budget(cap_watts=1000.0, watts=850.0 + asleep_watts)}
    assert keep(fleet, budgets)["Deployment/default/h100"] == kept
