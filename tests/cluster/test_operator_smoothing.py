"""Smoothing in a running loop: the plan in status, condition and event, hints, and faults."""

import pytest
from kube_cluster import KubeError
from operator_harness import (
    BOUNDS,
    Plant,
    capper,
    capping,
    condition,
    deployment,
    direct_loop,
    eventually,
    install,
    scaled_object,
    status_of,
    stored,
)
from racks_harness import (
    RackPlant,
    events_of,
    gates_of,
    get_pod,
    node,
    pod,
    rack_config,
    racks_of_test,
)
from range_server import range_server
from telemetry_harness import ManualClock

from capper.advice_metrics import advice_families
from capper.api.files import InvalidConfigError, parse
from capper.decide.smoothing_hints import placement_hints
from capper.racks.marks import GATE, RACK_LABEL

DAY = 86_400.0
STEP = 3600
RACKS = [{"rackId": "r1", "maxPower": 3000}, {"rackId": "r2", "maxPower": 3000}]


def by_day(at):
    return 700.0 if 6 <= at % DAY / 3600 < 18 else 100.0


def by_night(at):
    return 800.0 - by_day(at)


def fleet(namespace):
    """Three replicas by day in one rack, three by night in the other."""
    return [
        (
            {
                "instance": f"{namespace}/{service}-{number}",
                "service": f"Deployment/{namespace}/{service}",
                "leaf": rack,
            },
            lambda at, watts=watts, number=number: watts(at) + number,
        )
        for service, rack, watts in (("llm", "r1", by_day), ("batch", "r2", by_night))
        for number in range(3)
    ]


def smoothing(url, **changes):
    return {
        "metrics": [{"query": "watts", "prometheusAddress": url}],
        "rackConstraints": RACKS,
        "smoothing": {"enabled": True, "stepSeconds": STEP, "refreshSeconds": 3600, **changes},
    }


@pytest.fixture
async def keda(kube, namespace):
    await install(kube, "keda")
    await kube.create(deployment(namespace, replicas=3))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    return kube


@pytest.fixture
async def prometheus(namespace):
    async with range_server() as server:
        server.series = fleet(namespace)
        yield server


def noon():
    return ManualClock(epoch_seconds=20_000 * DAY + DAY / 2)


def advice_of(loop, namespace):
    return loop.entries()[f"{namespace}/cap"].advice


def hints(loop, namespace, service):
    return placement_hints(advice_of(loop, namespace).peaks, service)


async def planned(loop, document=None):
    if document is not None:
        await loop.put(document)
    await loop.turn()
    await loop.adviser.settled()
    await loop.turn()


async def test_the_plan_is_in_the_status_and_hints_follow_it(
    keda, namespace, kubeconfig, prometheus
):
    clock = noon()
    document = await stored(
        keda, capping(namespace, cap=9000, **smoothing(prometheus.url), **BOUNDS)
    )
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await planned(loop, document)
        status = await status_of(keda, namespace)
        assert len(prometheus.asked) == 7, "a day at a time"
        covered = sum((end - start) / step + 1 for start, end, step in prometheus.asked)
        assert covered == 7 * 24, "each step once"
        assert prometheus.asked[-1][1] == clock.epoch - STEP
        held = condition(status, "SmoothingPlanned")
        assert (held["status"], held["reason"]) == ("True", "Planned")
        assert held["message"] == (
            "6 replicas of 2 services; the racks' weekly peaks would be 28.5% lower as planned;"
            " the weekly peak leaves 897 W at r1."
        )
        found = status["smoothing"]
        assert (found["services"], found["historySeconds"]) == (2, 7 * DAY)
        nodes = {one["name"]: one for one in found["nodes"]}
        assert nodes["r1"]["peakWatts"] == 2103.0
        assert nodes["r1"]["headroomWatts"] == 897.0
        assert nodes["r1"]["plannedPeakWatts"] + nodes["r2"]["plannedPeakWatts"] < 3100
        assert nodes["fleet"]["asynchrony"] == pytest.approx(4206 / 2406, rel=1e-3)

        shown = {
            (family.name, *sample.labels.values()): sample.value
            for family in advice_families(loop.reports)
            for sample in family.samples
        }
        name = f"{namespace}/cap"
        assert shown["capper_smoothing_headroom_watts", name, "r1"] == 897.0
        assert shown["capper_smoothing_peak_watts", name, "fleet"] == nodes["fleet"]["peakWatts"]

        service = f"Deployment/{namespace}/llm"
        best, other = hints(loop, namespace, service)
        assert (best.leaf, other.leaf) == ("r2", "r1")
        for _ in range(2):  # the same pod counts once, and at once
            advice_of(loop, namespace).placed("uid-1", service, "r2")
        after = hints(loop, namespace, service)[0]
        assert (after.leaf, after.headroom_watts) == ("r2", best.headroom_watts - 101.0)
        assert hints(loop, namespace, "Deployment/x/y") == ()

        asked = len(prometheus.asked)
        await planned(loop)
        assert len(prometheus.asked) == asked, "a plan holds for refreshSeconds"
        clock.advance(3600.0)
        await planned(loop)
        assert len(prometheus.asked) == asked + 7
        prometheus.status = 500
        clock.advance(8 * DAY)
        await loop.turn()
        assert advice_of(loop, namespace).peaks is None, "older than its history"


async def test_a_new_pod_is_placed_where_the_weekly_peaks_rise_least(
    keda, namespace, kubeconfig, prometheus
):
    """By headroom alone it would go to r1, which draws less at this hour."""
    names = {f"{namespace}-{rack}": rack for rack in ("r1", "r2")}
    for name, rack in names.items():
        await keda.create(node(name, rack))
    plant = RackPlant({"r1": 400.0, "r2": 1200.0}, each=500.0)
    spec = smoothing(prometheus.url)
    limits = {"r1": (4000, None), "r2": (4000, None)}
    document = rack_config(namespace, limits, smoothing=spec["smoothing"])
    document["spec"]["metrics"] = spec["metrics"]
    path = kubeconfig()
    try:
        async with capper(path, plant, namespace=namespace, make_racks=racks_of_test()) as running:
            await keda.create(document)

            async def held():
                told = condition(await status_of(keda, namespace), "SmoothingPlanned")
                return told is not None and told["status"] == "True"

            await eventually(held)
            await keda.create(pod(namespace, "new", owner="llm"))

            async def lifted():
                found = await get_pod(keda, namespace, "new")
                return None if GATE in gates_of(found) else found

            found = await eventually(lifted)
            assert found["metadata"]["labels"][RACK_LABEL] == "r2"

            async def told():
                return dict(await events_of(keda, namespace, "new")).get("RackChosen")

            assert "its weekly peak rises by 101 of the replica's 701 W" in await eventually(told)

            async def noted():
                peaks = running.loop.entries()[f"{namespace}/cap"].advice.peaks
                return peaks is not None and peaks.after[f"Deployment/{namespace}/llm"]["r2"] > 2304

            await eventually(noted)
    finally:
        for name in names:
            await keda.delete("v1", "Node", None, name)


async def test_a_plan_is_told_once_by_an_event(keda, namespace, kubeconfig, prometheus):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await keda.create(capping(namespace, cap=9000, **smoothing(prometheus.url), **BOUNDS))

        async def told():
            events = await keda.list("v1", "Event", namespace)
            return [one for one in events if one["reason"] == "SmoothingPlanned"]

        [event] = await eventually(told)
        assert event["type"] == "Normal"
        assert event["message"].startswith("6 replicas of 2 services")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("down", "day 1 of 7 of the history cannot be read"),
        ("short", "the history is partial: there are readings for 28% of the time, at least 80%"),
        ("labels", "the query must give the labels service and instance"),
        ("racks", "no replica of the history is in a rack of this resource"),
        ("silent", "the history has no readings that can be believed"),
        ("one rack", "smoothing needs two racks at least: give rackConstraints"),
    ],
)
async def test_a_history_that_is_of_no_use_is_said_and_changes_nothing(
    keda, namespace, kubeconfig, prometheus, fault, sentence
):
    clock = noon()
    spec = smoothing(prometheus.url)
    if fault == "down":
        prometheus.status = 500
    elif fault == "short":
        prometheus.series = [
            (labels, lambda at, value=value: value(at) if at > clock.epoch - 2 * DAY else None)
            for labels, value in prometheus.series
        ]
    elif fault == "labels":
        prometheus.series = [({"pod": "x"}, by_day)]
    elif fault == "racks":
        prometheus.series = [
            ({**labels, "leaf": "elsewhere"}, value) for labels, value in prometheus.series
        ]
    elif fault == "silent":
        prometheus.series = []
    else:
        spec["rackConstraints"] = RACKS[:1]
    document = await stored(keda, capping(namespace, cap=9000, **spec, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await planned(loop, document)
        status = await status_of(keda, namespace)
        held = condition(status, "SmoothingPlanned")
        assert (held["status"], held["reason"]) == ("False", "HistoryUnusable")
        assert sentence in held["message"]
        assert "smoothing" not in status
        assert condition(status, "Ready")["status"] == "True"


async def test_an_outage_keeps_the_plan_before_and_the_next_look_is_soon(
    keda, namespace, kubeconfig, prometheus
):
    clock = noon()
    document = await stored(
        keda, capping(namespace, cap=9000, **smoothing(prometheus.url), **BOUNDS)
    )
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await planned(loop, document)
        made = (await status_of(keda, namespace))["smoothing"]["plannedTime"]
        prometheus.status = 503
        clock.advance(3600.0)
        await planned(loop)
        status = await status_of(keda, namespace)
        assert condition(status, "SmoothingPlanned")["message"].endswith("The plan before stays.")
        assert status["smoothing"]["plannedTime"] == made
        assert len(hints(loop, namespace, f"Deployment/{namespace}/llm")) == 2
        prometheus.status = 200
        clock.advance(601.0)
        await planned(loop)
        status = await status_of(keda, namespace)
        assert condition(status, "SmoothingPlanned")["status"] == "True"
        assert status["smoothing"]["plannedTime"] > made


@pytest.mark.usefixtures("needs_real_api_server")
async def test_a_step_that_divides_no_week_is_refused(keda, namespace):
    spec = smoothing("http://127.0.0.1:9", stepSeconds=1000)
    document = capping(namespace, **spec, **BOUNDS)
    with pytest.raises(KubeError, match="must divide a week of 604800 s"):
        await keda.create(document)
    with pytest.raises(InvalidConfigError, match=r"stepSeconds: must divide a week of 604800 s"):
        parse(document)
