"""What is done to pods that run: deletion costs before a cut, evictions, templates; and undone."""

import json

import pytest
from operator_harness import capping, condition, deployment, eventually, install, status_of, stored
from racks_harness import (
    RACK,
    RackPlant,
    annotations_of,
    events_of,
    get_pod,
    kept_racks,
    known,
    node,
    on_node,
    pod,
    rack_config,
)
from telemetry_harness import ManualClock

from capper.decide.plan import SetMaxReplicas
from capper.racks.marks import AFFINITY_BEFORE, COST_BEFORE, DELETION_COST

TWO = {"r1": (10_000, 27), "r2": (10_000, 27)}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.fixture
async def fleet(kube, namespace):
    """A Deployment of four ready pods, two in each of two racks."""
    await install(kube)
    names = {rack: f"{namespace}-{rack}" for rack in ("r1", "r2")}
    for rack, name in names.items():
        await kube.create(node(name, rack))
    made = await kube.create(deployment(namespace, replicas=4))
    await kube.set_status({**made, "status": {"replicas": 4, "readyReplicas": 4}})
    for number, rack in enumerate(("r1", "r1", "r2", "r2")):
        one = pod(namespace, f"p{number}", gated=False, owner="llm", labels={"app": "llm"})
        await kube.add_pod(on_node(one, names[rack]))
    yield kube
    for name in names.values():
        await kube.delete("v1", "Node", None, name)


async def marked(kube, namespace):
    found = {n: await get_pod(kube, namespace, f"p{n}") for n in range(4)}
    return {n: annotations_of(one).get(DELETION_COST) for n, one in found.items()}


def hot(loop, name):
    return {one.rack_id: one.inlet_celsius for one in loop.entries()[name].racks.racks}


async def test_a_planned_cut_takes_pods_of_the_hottest_rack_and_leaves_no_mark(
    fleet, namespace, kubeconfig
):
    kept = {"metadata": {"annotations": {DELETION_COST: "7"}}}
    await fleet.merge("v1", "Pod", namespace, "p3", kept)
    plant, clock = RackPlant({"r1": 2000, "r2": 2000}, {"r1": 20.0, "r2": 25.0}), ManualClock()
    document = capping(
        namespace,
        cap=5000,
        refs=[{"kind": "Deployment", "metadata": {"name": "llm"}}],
        rackConstraints=[
            {"rackId": name, "maxPower": cap, "maxTemperature": heat}
            for name, (cap, heat) in TWO.items()
        ],
        placement={"policy": "coolest"},
        replicaBounds={"preferPausedScaleOut": False},
        price={"enabled": False},
    )
    name = f"{namespace}/cap"
    async with kept_racks(kubeconfig(), plant, clock) as (loop, keeper):
        await loop.put(await stored(fleet, document))
        await loop.turn()
        await known(loop, keeper, name, lambda racks: racks.racks[0].nodes)
        assert hot(loop, name) == {"r1": 20.0, "r2": 25.0}
        assert await marked(fleet, namespace) == {0: None, 1: None, 2: None, 3: "7"}

        plant.watts = {"r1": 2600, "r2": 2600}  # over the cap
        cut = None
        for _ in range(30):
            clock.advance(5.0)
            (report,) = await loop.turn()
            cut = next((a for a in report.plan.actions if isinstance(a, SetMaxReplicas)), None)
            if cut is not None and cut.replicas < cut.current_replicas:
                break
            await keeper.turn()
        assert (cut.current_replicas, cut.replicas) == (4, 3)
        marks = await marked(fleet, namespace)
        [victim] = [number for number in (2, 3) if int(marks[number] or 0) < 0]
        assert (marks[0], marks[1]) == (None, None)
        written = await get_pod(fleet, namespace, f"p{victim}")
        scaled = await fleet.get("apps/v1", "Deployment", namespace, "llm")
        assert scaled["spec"]["replicas"] == 3
        versions = [int(one["metadata"]["resourceVersion"]) for one in (written, scaled)]
        assert versions[0] < versions[1], "the cost is there before the cut"

        await fleet.set_status({**scaled, "status": {"replicas": 3, "readyReplicas": 3}})
        plant.watts = {"r1": 1000, "r2": 1000}
        await loop.turn()

        async def clean():
            clock.advance(61.0)
            await loop.turn()
            await keeper.turn()
            return await marked(fleet, namespace) == {0: None, 1: None, 2: None, 3: "7"}

        await eventually(clean)
        for number in range(4):
            found = await get_pod(fleet, namespace, f"p{number}")
            assert COST_BEFORE not in annotations_of(found)


async def budget(kube, namespace, allowed):
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"namespace": namespace, "name": "llm"},
        "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "llm"}}},
    }
    found = await kube.create(body)
    counts = {"desiredHealthy": 3, "currentHealthy": 4, "expectedPods": 4}
    await kube.set_status(
        {**found, "status": {"disruptionsAllowed": allowed, "observedGeneration": 1, **counts}}
    )


async def names_of(kube, namespace):
    pods = await kube.list("v1", "Pod", namespace)
    return {one["metadata"]["name"] for one in pods if "deletionTimestamp" not in one["metadata"]}


@pytest.mark.parametrize("allowed", [0, 1])
async def test_a_rack_that_stays_hot_gives_one_pod_as_its_budget_allows(
    fleet, namespace, kubeconfig, allowed
):
    await budget(fleet, namespace, allowed)
    plant, clock = RackPlant({"r1": 2000, "r2": 2000}, {"r1": 31.0, "r2": 22.0}), ManualClock()
    document = rack_config(namespace, TWO, placement={"rebalanceByEviction": True})
    name = f"{namespace}/cap"
    async with kept_racks(kubeconfig(), plant, clock) as (loop, keeper):
        await loop.put(await stored(fleet, document))
        await loop.turn()
        await known(loop, keeper, name, lambda racks: racks.racks[0].nodes)
        for _ in range(9):  # 540 s: long over its limit, and less than an interval since the start
            clock.advance(60.0)
            await loop.turn()
            await keeper.turn()
        assert await names_of(fleet, namespace) == {"p0", "p1", "p2", "p3"}
        for _ in range(4):
            clock.advance(60.0)
            await loop.turn()
            await keeper.turn()
        left = await names_of(fleet, namespace)
        said = [await events_of(fleet, namespace, f"p{n}") for n in (0, 1)]
        if allowed:
            assert len(left) == 3
            assert left >= {"p2", "p3"}
            assert [reason for told in said for reason, _ in told] == ["RackRebalanced"]
        else:
            assert len(left) == 4
            assert [reason for told in said for reason, _ in told] == ["RackRebalanceHeld"]


async def test_nothing_is_evicted_unasked(fleet, namespace, kubeconfig):
    plant, clock = RackPlant({"r1": 2000, "r2": 2000}, {"r1": 31.0, "r2": 22.0}), ManualClock()
    async with kept_racks(kubeconfig(), plant, clock) as (loop, keeper):
        await loop.put(await stored(fleet, rack_config(namespace, TWO)))
        await loop.turn()
        await known(loop, keeper, f"{namespace}/cap", lambda racks: racks.racks[0].nodes)
        for _ in range(20):
            clock.advance(100.0)
            await loop.turn()
            await keeper.turn()
        assert len(await names_of(fleet, namespace)) == 4


def affinity_of(found):
    return found["spec"]["template"]["spec"].get("affinity")


async def template(kube, namespace):
    return await kube.get("apps/v1", "Deployment", namespace, "llm")


async def test_the_mode_deployment_affinity_writes_the_template_once_and_takes_it_out_again(
    fleet, namespace, kubeconfig
):
    own = {"weight": 3, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
    before = {"nodeAffinity": {PREFERRED: [own]}}
    patch = {"spec": {"template": {"spec": {"affinity": before}}}}
    await fleet.merge("apps/v1", "Deployment", namespace, "llm", patch)
    plant, clock = RackPlant({"r1": 6000, "r2": 2000}, {"r1": 22.0, "r2": 22.0}), ManualClock()
    document = rack_config(namespace, TWO, placement={"mode": "DeploymentAffinity"})
    name = f"{namespace}/cap"
    async with kept_racks(kubeconfig(), plant, clock) as (loop, keeper):
        await loop.put(await stored(fleet, document))
        await loop.turn()
        await known(loop, keeper, name, lambda racks: racks.racks[0].nodes)
        found = await template(fleet, namespace)
        terms = affinity_of(found)["nodeAffinity"][PREFERRED]
        assert terms[0] == own
        wish = {"key": RACK, "operator": "In", "values": ["r2"]}
        assert terms[1]["preference"]["matchExpressions"] == [wish]
        assert json.loads(annotations_of(found)[AFFINITY_BEFORE]) == before
        generation = found["metadata"]["generation"]
        plant.watts = {"r1": 1000, "r2": 7000}  # the other rack would be better now
        for _ in range(5):
            clock.advance(300.0)
            await loop.turn()
            await keeper.turn()
        assert (await template(fleet, namespace))["metadata"]["generation"] == generation
        await loop.turn()
        warned = condition(await status_of(fleet, namespace), "RestartsPods")
        assert warned["status"] == "True"
        assert "starts every pod of that Deployment anew" in warned["message"]

        await loop.remove(document)
        found = await template(fleet, namespace)
        assert affinity_of(found) == before
        assert AFFINITY_BEFORE not in annotations_of(found)


async def test_by_default_no_template_is_touched(fleet, namespace, kubeconfig):
    before = await template(fleet, namespace)
    plant = RackPlant({"r1": 6000, "r2": 2000})
    async with kept_racks(kubeconfig(), plant, ManualClock()) as (loop, keeper):
        document = await stored(fleet, rack_config(namespace, {"r1": (9000, None)}))
        await loop.put(document)
        await loop.turn()
        await known(loop, keeper, f"{namespace}/cap", lambda racks: racks.racks[0].nodes)
        await loop.remove(document)
    assert await template(fleet, namespace) == before
