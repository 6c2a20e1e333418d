"""Replicas of a served fleet asleep and awake: whose watts count, and who never sleeps."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telemetry_harness import ManualClock

from capper.actuators.workloads import Workload
from capper.api.files import parse
from capper.api.translate import policy_of
from capper.decide.observation import TargetReading
from capper.operator.snapshot_observer import SnapshotObserver
from fleet.priors import prior_profile
from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica
from headrace.local_fleet import ServedFleet

PROFILE = prior_profile("H100", parameters=8e9)
MODELS = ("chat", "code", "embed")


def backend(name, *models):
    """One with a replica for each entry, of these models."""
    return Backend(
        name=name,
        accelerator="H100",
        parameters=8e9,
        profile=PROFILE,
        replicas=tuple(
            Replica(address=f"{name}:{number}", backend=name, models=one)
            for number, one in enumerate(models)
        ),
    )


def served(*backends, signals=None):
    first = FleetSnapshot(fleet=Fleet(backends), published_seconds=0.0, signals=signals or {})
    snapshots = SnapshotHolder(first)
    return snapshots, ServedFleet(snapshots, lambda: 0.0, scheme=None)


def awake_models(snapshots, fleet):
    seen = fleet.seen_by_router(snapshots.current).fleet
    return [one.models for one in seen.replicas()]


models = st.lists(st.sampled_from(MODELS), min_size=1, max_size=2, unique=True).map(tuple)


@given(st.lists(models, min_size=1, max_size=6), st.lists(st.integers(1, 6), max_size=6))
def test_a_models_last_replica_never_sleeps_unless_asked_for_none(replicas, counts):
    snapshots, fleet = served(backend("a", *replicas))
    wanted = {model for one in replicas for model in one}
    for count in counts:
        asyncio.run(fleet.set_awake("a", count))
        there = awake_models(snapshots, fleet)
        assert {model for one in there for model in one} == wanted
        assert len(there) >= min(count, len(replicas))
        assert fleet.replicas("a").awake == len(there)
    asyncio.run(fleet.set_awake("a", 0))
    assert awake_models(snapshots, fleet) == []


def test_another_backend_may_hold_the_model_and_who_wakes_first_is_the_missing_one():
    snapshots, fleet = served(
        backend("a", ("chat",), ("code",), ("chat",)), backend("b", ("code",), ("chat",))
    )
    asyncio.run(fleet.set_awake("a", 0))
    asyncio.run(fleet.set_awake("b", 1))
    assert sorted(awake_models(snapshots, fleet)) == [("chat",), ("code",)]
    asyncio.run(fleet.set_awake("b", 0))
    asyncio.run(fleet.set_awake("a", 1))
    asyncio.run(fleet.set_awake("a", 2))
    assert sorted(awake_models(snapshots, fleet)) == [("chat",), ("code",)]


def config(name):
    return parse(
        {
            "apiVersion": "powercapping.climatik-project.ai/v1",
            "kind": "PowerCappingConfig",
            "metadata": {"name": "cap"},
            "spec": {
                "powerCapLimit": 5000,
                "scaleObjectRef": [{"kind": "Deployment", "metadata": {"name": name}}],
            },
        }
    )


@pytest.mark.parametrize(("awake", "watts"), [(4, 2600.0), (2, 1300.0), (0, None)])
async def test_watts_of_sleepers_are_the_domains_and_not_their_targets(awake, watts):
    each = 650.0
    addresses = [f"a:{number}" for number in range(4)]
    signals = {one: {SignalKind.POWER_WATTS: Signal(each, 0.0)} for one in addresses}
    snapshots, fleet = served(backend("a", *[("chat",)] * 4), signals=signals)
    await fleet.set_awake("a", awake)
    policy = policy_of(config("a"))
    (target,) = policy.targets
    workload = Workload(reading=TargetReading(), written=target.ref, backend="a")
    observer = SnapshotObserver(snapshots, ManualClock(), fleet.seen_by_router)
    seen = await observer.observe(config("a"), policy, {target.ref: workload})
    assert seen.domains["fleet"].power[0].samples[0].value == 4 * each
    assert seen.targets[target.ref].watts == watts
