"""Gated pods get their rack: reservation and narrowed affinity in one patch, never too late."""

import asyncio

import pytest
from operator_harness import capper, condition, deployment, eventually, install, status_of
from racks_harness import (
    RACK,
    RackPlant,
    gates_of,
    get_pod,
    node,
    pod,
    rack_config,
    racks_of_test,
    told_of,
)

from capper.racks.marks import GATE, RACK_LABEL, RESERVED_WATTS

TWO = {"r1": (10_000, None), "r2": (10_000, None)}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.fixture
async def room(kube, namespace):
    """Two racks of one node each, a Deployment, and the CRD; nodes go when the test ends."""
    await install(kube)
    names = {f"{namespace}-{rack}": rack for rack in ("r1", "r2")}
    for name, rack in names.items():
        await kube.create(node(name, rack))
    await kube.create(deployment(namespace, replicas=1))
    yield kube
    for name in names:
        await kube.delete("v1", "Node", None, name)


def running(path, plant, namespace, **more):
    return capper(path, plant, namespace=namespace, make_racks=racks_of_test(), **more)


async def ungated(kube, namespace, name):
    async def look():
        found = await get_pod(kube, namespace, name)
        return None if GATE in gates_of(found) else found

    return await eventually(look)


def preferred(found):
    terms = found["spec"]["affinity"]["nodeAffinity"][PREFERRED]
    return [one["preference"]["matchExpressions"][0]["values"] for one in terms]


async def test_pods_go_to_the_rack_with_most_room_and_their_watts_are_reserved(
    room, namespace, kubeconfig
):
    await room.create(rack_config(namespace, TWO))
    async with running(kubeconfig(), RackPlant({"r1": 6000, "r2": 5500}), namespace):
        for name in ("p1", "p2", "p3", "p4"):
            await room.create(pod(namespace, name, owner="llm"))
            found = await ungated(room, namespace, name)
            assert found["metadata"]["annotations"][RESERVED_WATTS] == "1000"
        placed = [(await get_pod(room, namespace, f"p{n}")) for n in range(1, 5)]
        # Of 8800 W that may be used r1 has 2800 W left and r2 3300 W.
        assert [one["metadata"]["labels"][RACK_LABEL] for one in placed] == ["r2", "r1", "r2", "r1"]
        assert [preferred(one) for one in placed] == [[["r2"]], [["r1"]], [["r2"]], [["r1"]]]
        assert all(REQUIRED not in one["spec"]["affinity"]["nodeAffinity"] for one in placed)
        assert "prefers rack r2" in await told_of(room, namespace, "p1", "RackChosen")

        async def shown():
            status = await status_of(room, namespace)
            racks = {one["rackId"]: one for one in status.get("racks", ())}
            return racks if racks and racks["r1"]["reservedWatts"] == 2000 else None

        racks = await eventually(shown)
        assert (racks["r1"]["observedWatts"], racks["r1"]["leftWatts"]) == (6000, 800)
        assert racks["r2"]["nodes"] == 1
        ready = condition(await status_of(room, namespace), "PlacementReady")
        assert (ready["status"], ready["reason"]) == ("True", "Placing")


async def test_a_restart_finds_the_reservations_on_the_pods(room, namespace, kubeconfig):
    """One rack has room for one more: the second capper must know that it is taken."""
    only = {"r1": (8000, None)}
    await room.create(rack_config(namespace, only, placement={"gateSeconds": 4}))
    plant = RackPlant({"r1": 6000})
    async with running(kubeconfig(), plant, namespace):
        await room.create(pod(namespace, "first", owner="llm"))
        await ungated(room, namespace, "first")
    async with running(kubeconfig(), plant, namespace, identity="b"):
        await room.create(pod(namespace, "second", owner="llm"))
        found = await ungated(room, namespace, "second")
        said = await told_of(room, namespace, "second", "RackNotChosen")
    assert RACK_LABEL not in found["metadata"]["labels"]
    assert "affinity" not in found["spec"]
    assert said == "The gate is lifted as it is: no rack was found within 4 s."


async def test_racks_over_a_limit_are_excluded_and_users_terms_are_kept(
    room, namespace, kubeconfig
):
    limits = {"r1": (10_000, 27), "r2": (10_000, 27)}
    await room.create(rack_config(namespace, limits))
    own = {"key": "gpu", "operator": "DoesNotExist"}
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [own]}]}}}
    plant = RackPlant({"r1": 1000, "r2": 5000}, {"r1": 31.0, "r2": 22.0})
    async with running(kubeconfig(), plant, namespace):
        await room.create(pod(namespace, "p", owner="llm", affinity=affinity))
        found = await ungated(room, namespace, "p")
    away = {"key": RACK, "operator": "NotIn", "values": ["r1"]}
    terms = found["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [own, away]}]
    assert preferred(found) == [["r2"]]


async def test_a_required_rack_is_a_selector(room, namespace, kubeconfig):
    await room.create(rack_config(namespace, TWO, placement={"require": True}))
    async with running(kubeconfig(), RackPlant({"r1": 1000, "r2": 5000}), namespace):
        await room.create(pod(namespace, "p", owner="llm", nodeSelector={"zone": "a"}))
        # No node of either rack is in that zone.
        await asyncio.sleep(1.0)
        assert gates_of(await get_pod(room, namespace, "p")) == [GATE]
        await room.create(pod(namespace, "q", owner="llm"))
        found = await ungated(room, namespace, "q")
    assert found["spec"]["nodeSelector"] == {RACK: "r1"}


@pytest.mark.parametrize(
    ("mode", "watts", "reason"),
    [
        ("Observe", None, "the mode is Observe; it would have gone to rack r1"),
        ("Recommend", None, "the mode is Recommend; it would have gone to rack r1"),
        ("Enforce", "unknown", "nobody tells how many watts it will draw"),
    ],
)
async def test_what_is_not_to_be_placed_does_not_wait(
    room, namespace, kubeconfig, mode, watts, reason
):
    await room.create(rack_config(namespace, TWO, mode=mode))
    plant = RackPlant({"r1": 1000, "r2": 5000}, each=None if watts else 1000.0)
    async with running(kubeconfig(), plant, namespace):
        await room.create(pod(namespace, "p", owner="llm"))
        found = await ungated(room, namespace, "p")
        said = await told_of(room, namespace, "p", "RackNotChosen")
    assert RACK_LABEL not in found["metadata"]["labels"]
    assert "affinity" not in found["spec"]
    assert said == f"The gate is lifted as it is: {reason}."


async def test_a_pod_of_nobody_known_is_placed_by_its_annotation_and_counts_in_the_loop(
    room, namespace, kubeconfig
):
    await room.create(rack_config(namespace, TWO))
    declared = {"powercapping.climatik-project.ai/watts": "2500"}
    async with running(kubeconfig(), RackPlant({"r1": 1000, "r2": 5000}), namespace) as one:
        await room.create(pod(namespace, "p", annotations=declared))
        found = await ungated(room, namespace, "p")
        assert found["metadata"]["annotations"][RESERVED_WATTS] == "2500"

        async def counted():
            held = one.loop.entries()[f"{namespace}/cap"].state.reservations
            return [(each.domain, each.watts) for each in held.values()]

        assert await eventually(counted) == [("r1", 2500.0)]
        await room.delete("v1", "Pod", namespace, "p", grace_seconds=0)

        async def released():
            return not one.loop.entries()[f"{namespace}/cap"].state.reservations

        await eventually(released)


async def test_without_a_node_of_a_rack_the_condition_says_so_and_no_pod_waits(
    kube, namespace, kubeconfig
):
    await install(kube)
    await kube.create(deployment(namespace, replicas=1))
    label = {"rackLabel": "example.com/nowhere"}
    await kube.create(rack_config(namespace, TWO, placement=label))
    async with running(kubeconfig(), RackPlant({"r1": 1000, "r2": 5000}), namespace):
        await kube.create(pod(namespace, "p", owner="llm"))
        await ungated(kube, namespace, "p")

        async def told():
            said = condition(await status_of(kube, namespace), "PlacementReady")
            return said and said["reason"] == "NoNodes"

        await eventually(told)
