"""What goes wrong around the operator never raises a cap, and is made good without a hand."""

import asyncio

import pytest
from operator_harness import (
    BOUNDS,
    Plant,
    again,
    bound_of,
    capper,
    capping,
    changed,
    condition,
    deployment,
    direct_loop,
    eventually,
    install,
    killed_in_a_turn,
    scaled_object,
    status_of,
    stored,
)

from capper.actuators.reading import ORIGINAL
from capper.api import API_VERSION, KIND
from capper.kube.kinds import at
from capper.operator.leaving import RestoreError
from capper.operator.report import Outcome

KEDA = "keda.sh/v1alpha1"
SCALER = (KEDA, "ScaledObject")


async def test_killed_at_any_await_a_turn_is_made_good(keda, namespace, kubeconfig):
    steps, finished = 0, False
    while not finished:
        document = await stored(keda, capping(namespace, f"cap-{steps}", **BOUNDS))
        async with direct_loop(kubeconfig(), Plant()) as loop:
            await loop.put(await again(keda, document))
            finished = await killed_in_a_turn(loop, steps)
        await asyncio.sleep(0.05)  # what the API server had received, it still does
        assert await bound_of(keda, namespace) in {9, 4}, "the first value or the bound, no other"
        # The next process, which may still be in the band that was noted before the end.
        async with direct_loop(kubeconfig(), Plant(each=100.0)) as loop:
            await loop.put(await again(keda, document))
            (report,) = await loop.turn()
            held = await bound_of(keda, namespace)
            (memory,) = report.state.targets.values()
            assert memory.touched == (held == 4)
            if held == 4:
                assert (memory.original_max, memory.written_max) == (9, 4)
            await loop.remove(await again(keda, document))
        found = await keda.get(*SCALER, namespace, "llm-scaler")
        assert (found["spec"]["maxReplicaCount"], at(found, ORIGINAL)) == (9, None)
        steps += 3
    assert steps > 6, "several points were reached"


async def test_killed_while_restoring_the_next_one_ends_it(keda, namespace, kubeconfig):
    steps, finished = 0, False
    while not finished:
        document = await stored(keda, capping(namespace, f"cap-{steps}", **BOUNDS))
        async with direct_loop(kubeconfig(), Plant()) as loop:
            await loop.put(await again(keda, document))
            await loop.turn()
            assert await bound_of(keda, namespace) == 4
            removal = asyncio.create_task(loop.remove(await again(keda, document)))
            for _ in range(steps):
                await asyncio.sleep(0.002)
                if removal.done():
                    break
            finished = removal.done()
            removal.cancel()
            await asyncio.gather(removal, return_exceptions=True)
        async with direct_loop(kubeconfig(), Plant()) as loop:
            await loop.remove(await again(keda, document))
        found = await keda.get(*SCALER, namespace, "llm-scaler")
        assert (found["spec"]["maxReplicaCount"], at(found, ORIGINAL)) == (9, None)
        steps += 3


async def test_while_the_api_server_is_gone_nothing_changes(keda, namespace, kubeconfig, door):
    document = await stored(keda, capping(namespace, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        await loop.turn()
        assert await bound_of(keda, namespace) == 4
        await door.shut()
        for _ in range(3):
            (report,) = await loop.turn()
            assert report.results == ()
            assert [one.why.sentence for one in report.plan.targets]
        with pytest.raises(RestoreError):
            await loop.remove(document)
        await door.open()
        assert await bound_of(keda, namespace) == 4
        (report,) = await loop.turn()
        assert report.plan.targets[0].current_replicas == 4
        await loop.remove(await again(keda, document))
        assert await bound_of(keda, namespace) == 9


async def test_an_operator_comes_back_with_the_api_server(keda, namespace, kubeconfig, door):
    async with capper(kubeconfig(), Plant(), namespace=namespace):
        await keda.create(capping(namespace, **BOUNDS))

        async def is_bounded():
            return await bound_of(keda, namespace) == 4

        await eventually(is_bounded)
        await door.shut()
        await asyncio.sleep(3.0)  # longer than the lease's deadline: it stops leading
        assert await bound_of(keda, namespace) == 4
        await door.open()
        await keda.merge(API_VERSION, KIND, namespace, "cap", {"spec": {"mode": "Observe"}})

        async def is_restored():
            return await bound_of(keda, namespace) == 9

        await eventually(is_restored, seconds=40)


async def test_lost_measurements_hold_what_is_in_force(keda, namespace, kubeconfig):
    document = await stored(keda, capping(namespace, **BOUNDS))
    plant = Plant()
    async with direct_loop(kubeconfig(), plant) as loop:
        await loop.put(document)
        await loop.turn()
        plant.blind = True
        (report,) = await loop.turn()
        assert report.results == ()
        assert {one.type.value for one in report.plan.conditions} >= {"TelemetryStale"}
        assert await bound_of(keda, namespace) == 4


async def test_a_field_that_git_applies_becomes_a_condition(kube, namespace, kubeconfig):
    await install(kube, "keda")
    await kube.create(deployment(namespace))
    await kube.apply(scaled_object(namespace, maxReplicaCount=9), manager="argocd")
    document = await stored(kube, capping(namespace, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        (report,) = await loop.turn()
        assert [one.outcome for one in report.results] == [Outcome.REFUSED]
        status = await status_of(kube, namespace)
        found = condition(status, "FieldConflict")
        assert (found["status"], "argocd" in found["message"]) == ("True", True)
        assert await bound_of(kube, namespace) == 9
        bounds = {**BOUNDS["replicaBounds"], "takeOwnership": True}
        taking = changed(await again(kube, document), replicaBounds=bounds)
        await loop.put(await kube.replace(taking))
        await loop.turn()
        assert await bound_of(kube, namespace) == 4


async def test_overlapping_configurations_the_lowest_wins_and_hands_over(
    keda, namespace, kubeconfig
):
    tight = await stored(keda, capping(namespace, "tight", cap=2100, **BOUNDS))
    loose = await stored(keda, capping(namespace, "loose", cap=2900, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(tight)
        await loop.put(loose)
        for _ in range(3):
            reports = await loop.turn()
        assert await bound_of(keda, namespace) == 4
        for report in reports:
            assert "Overlap" in {one.type.value for one in report.plan.conditions}
            assert "RevertFight" not in {one.type.value for one in report.plan.conditions}
        await loop.remove(await again(keda, tight))
        assert await bound_of(keda, namespace) == 4, "the other still holds it"
        (report,) = await loop.turn()
        (memory,) = report.state.targets.values()
        assert (memory.touched, memory.original_max) == (True, 9)
        await loop.remove(await again(keda, loose))
        assert await bound_of(keda, namespace) == 9


async def test_a_target_that_is_not_named_any_more_is_let_go(keda, namespace, kubeconfig):
    await keda.create(deployment(namespace, "other", replicas=1))
    await keda.create(scaled_object(namespace, "other-scaler", "other", maxReplicaCount=5))
    document = await stored(
        keda, capping(namespace, cap=2600, refs=("llm-scaler", "other-scaler"), **BOUNDS)
    )
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        await loop.turn()
        assert await bound_of(keda, namespace) == 4
        refs = [{"metadata": {"name": "other-scaler"}}]
        await loop.put(changed(await again(keda, document), scaleObjectRef=refs))
        await loop.turn()
        assert await bound_of(keda, namespace) == 9


async def test_a_ref_to_nothing_is_said_and_the_others_go_on(keda, namespace, kubeconfig):
    document = await stored(keda, capping(namespace, refs=("nobody", "llm-scaler"), **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        await loop.turn()
        found = condition(await status_of(keda, namespace), "Ready")
        assert (found["status"], found["reason"]) == ("False", "TargetNotFound")
        assert "nobody" in found["message"]
        assert await bound_of(keda, namespace) == 4


async def test_workloads_are_enrolled_by_their_labels_as_they_come_and_go(
    kube, namespace, kubeconfig
):
    await install(kube, "keda")
    labels = {"app": "vllm"}
    await kube.create(deployment(namespace, replicas=2, labels=labels))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    selector = {"kind": "Deployment", "matchLabels": labels}
    document = await stored(
        kube, capping(namespace, refs=(), targetSelectors=[selector], cap=2050, **BOUNDS)
    )
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        (report,) = await loop.turn()
        (target,) = report.policy.targets
        assert target.ref == f"ScaledObject/{namespace}/llm-scaler"
        await kube.create(deployment(namespace, "late", replicas=2, labels=labels))
        (report,) = await loop.turn()
        assert {one.ref for one in report.policy.targets} == {
            f"ScaledObject/{namespace}/llm-scaler",
            f"Deployment/{namespace}/late",
        }
        assert await bound_of(kube, namespace) == 2
        await kube.delete("apps/v1", "Deployment", namespace, "late")
        (report,) = await loop.turn()
        assert len(report.policy.targets) == 1
