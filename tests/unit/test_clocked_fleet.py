"""The router's fleet at the clocks that are held, for who leads and who follows."""

import pytest
from builders import make_fleet, make_snapshot

from capper.api.files import parse
from capper.api.translate import policy_of
from capper.clocks.clock_board import BackendClock, ClockBoard, ClockedFleet, followed
from capper.clocks.targets import TargetLock, Terms, request_of
from capper.decide.clock_model import ClockCurve
from capper.operator.cluster import ClusterCapper, ClusterSettings
from capper.operator.leader import LeaseSettings
from fleet.price import PriceHolder
from telemetry.system_clock import SystemClock

FLEET = make_fleet()
FIRST = FLEET.backends[0]
CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.1e9, static_watts=70.0)
SNAPSHOT = make_snapshot(FLEET, at_seconds=100.0)


def clocked(hertz, *, expires_seconds=160.0):
    made = ClockedFleet()
    made.current = ClockBoard(
        clocks={FIRST.name: BackendClock(CURVE, hertz)}, expires_seconds=expires_seconds
    )
    return made


def test_the_backend_is_slower_and_draws_less_and_the_others_are_as_they_were():
    seen = clocked(1.2e9).seen_by_router(SNAPSHOT, now_seconds=100.0)
    here, there = seen.fleet.backends[0].profile, FIRST.profile
    assert here.step.base_seconds > there.step.base_seconds
    assert here.power.decode_watts(32) < there.power.decode_watts(32)
    assert seen.fleet.backends[1:] == FLEET.backends[1:]
    assert seen.fleet.backends[0].replicas == FIRST.replicas
    assert seen.signals is SNAPSHOT.signals


def test_a_limit_is_believed_too():
    made = clocked(None)
    made.current = ClockBoard(
        clocks={FIRST.name: BackendClock(CURVE, None, 250.0)}, expires_seconds=160.0
    )
    profile = made.seen_by_router(SNAPSHOT, now_seconds=100.0).fleet.backends[0].profile
    assert profile.power.prefill_watts <= 250.0 * 1.001 < FIRST.profile.power.prefill_watts
    assert profile.step.prompt_seconds(1000) > FIRST.profile.step.prompt_seconds(1000)


def test_the_same_fleet_object_while_nothing_changes_since_the_router_rebuilds_for_a_new_one():
    board = clocked(1.2e9)
    first = board.seen_by_router(SNAPSHOT, now_seconds=100.0)
    assert board.seen_by_router(SNAPSHOT, now_seconds=101.0).fleet is first.fleet
    board.current = ClockBoard(
        clocks={FIRST.name: BackendClock(CURVE, 1.5e9)}, expires_seconds=160.0
    )
    assert board.seen_by_router(SNAPSHOT, now_seconds=101.0).fleet is not first.fleet
    # The leases have run out: full clock again, and the fleet itself.
    assert board.seen_by_router(SNAPSHOT, now_seconds=160.0) is SNAPSHOT


def test_who_follows_reads_the_clocks_from_the_status():
    config = parse(
        {
            "apiVersion": "powercapping.climatik-project.ai/v1",
            "kind": "PowerCappingConfig",
            "metadata": {"name": "cap"},
            "spec": {
                "powerCapLimit": 1000,
                "scaleObjectRef": [{"metadata": {"name": "scaler"}}],
                "gpuClocks": {"enabled": True, "baseMHz": 1980, "staticWatts": 70},
            },
        }
    )
    status = {
        "targets": [
            {"ref": "a", "backend": FIRST.name, "clockMegaHertz": 1200.0},
            {"ref": "b", "backend": FIRST.name, "clockMegaHertz": 1500.0},
            {"ref": "c", "backend": FIRST.name, "limitWattsPerReplica": 400.0},
            {"ref": "d", "backend": ""},
        ]
    }
    board = followed([(policy_of(config), status)], expires_seconds=7.0)
    assert board.expires_seconds == 7.0
    ((name, held),) = board.clocks.items()
    assert (name, held.hertz, held.limit_watts) == (FIRST.name, 1.2e9, 400.0)
    assert followed([(policy_of(config), {})], expires_seconds=7.0).clocks == {}


def test_a_request_claims_every_pod_and_shares_a_replicas_limit_among_its_boards():
    lock = TargetLock(ref="Deployment/llm/a", backend=FIRST.name, hertz=1.2e9, limit_watts=800.0)
    terms = Terms(lease_seconds=30.0, net_watts=500.0)
    request = request_of("llm/cap", [lock], FLEET, terms)
    assert len(request.claims) == len(FIRST.replicas)
    for claim, replica in zip(request.claims, FIRST.replicas, strict=True):
        assert claim.owner in {replica.address, f"{replica.namespace}/{replica.pod}"}
        assert claim.workload == "Deployment/llm/a"
        assert claim.max_clock_hertz == 1.2e9
        assert claim.limit_watts == pytest.approx(min(500.0, 800.0 / FIRST.gpus_per_replica))
    # The net alone, for a target that holds nothing; and nothing at all without one.
    idle = TargetLock(ref="Deployment/llm/a", backend=FIRST.name)
    (claim, *_) = request_of("llm/cap", [idle], FLEET, terms).claims
    assert (claim.max_clock_hertz, claim.limit_watts) == (0.0, 500.0)
    assert not request_of("llm/cap", [idle], FLEET, Terms()).claims


async def test_a_capper_that_does_not_lead_repeats_the_leaders_clocks():
    clocked = ClockedFleet()
    follower = ClusterCapper(
        ClusterSettings(lease=LeaseSettings(namespace="llm", identity="b")),
        SystemClock(),
        lambda *_: None,  # it never leads
        prices=PriceHolder(),
        clocked=clocked,
    )
    document = {
        "apiVersion": "powercapping.climatik-project.ai/v1",
        "kind": "PowerCappingConfig",
        "metadata": {"name": "cap"},
        "spec": {
            "powerCapLimit": 1000,
            "scaleObjectRef": [{"metadata": {"name": "scaler"}}],
            "gpuClocks": {"enabled": True, "baseMHz": 1980},
        },
        "status": {"targets": [{"ref": "a", "backend": "llm", "clockMegaHertz": 1200.0}]},
    }
    follower._repeat([parse(document)])  # what its timer does with the listed configurations
    assert clocked.current.clocks["llm"].hertz == 1.2e9
