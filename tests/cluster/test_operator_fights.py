"""Another writer that undoes the bound: a few times it is set again, then left alone and said."""

from operator_harness import (
    BOUNDS,
    Plant,
    again,
    bound_of,
    capping,
    changed,
    condition,
    direct_loop,
    status_of,
    stored,
)
from prometheus_client import CollectorRegistry
from telemetry_harness import ManualClock

from capper.metrics import CapperMetrics

SETTLED_SECONDS = 31.0  # a written bound has half a minute to show
FROZEN_SECONDS = 1800.0


async def reverted(kube, namespace, replicas=9):
    """What `kubectl apply` of the chart does."""
    spec = {"spec": {"maxReplicaCount": replicas}}
    await kube.merge("keda.sh/v1alpha1", "ScaledObject", namespace, "llm-scaler", spec)


async def undone(kube, namespace, loop, clock):
    """The other writer sets its value, the loop sees it; true when the loop set its own again."""
    await reverted(kube, namespace)
    clock.advance(SETTLED_SECONDS)
    await loop.turn()
    return await bound_of(kube, namespace) == 4


async def test_three_reverts_end_in_a_condition_and_no_more_writes(keda, namespace, kubeconfig):
    clock, registry = ManualClock(), CollectorRegistry()
    metrics = CapperMetrics(registry, clock)
    name = f"{namespace}/cap"

    def alarmed():
        labels = {"config": name, "type": "RevertFight"}
        return registry.get_sample_value("capper_condition", labels)

    document = await stored(keda, capping(namespace, **BOUNDS))
    plant = Plant()
    async with direct_loop(kubeconfig(), plant, clock=clock, listeners=(metrics.record,)) as loop:
        await loop.put(document)
        await loop.turn()
        assert [await undone(keda, namespace, loop, clock) for _ in range(3)] == [
            True,
            True,
            False,
        ]
        assert alarmed() == 1.0
        status = await status_of(keda, namespace)
        found = condition(status, "RevertFight")
        assert (found["status"], "undid the bound 3 times" in found["message"]) == ("True", True)
        writes = len(status["lastActions"])
        for _ in range(5):
            clock.advance(SETTLED_SECONDS)
            (report,) = await loop.turn()
            assert report.results == ()
        assert await bound_of(keda, namespace) == 9, "it is left to the other writer"
        assert len((await status_of(keda, namespace))["lastActions"]) == writes

        # After half an hour it is tried once more, without a hand.
        clock.advance(FROZEN_SECONDS)
        await loop.turn()
        assert (await bound_of(keda, namespace), alarmed()) == (4, 0.0)
        await loop.remove(await again(keda, document))
        assert await bound_of(keda, namespace) == 9


async def test_a_changed_spec_ends_the_fight_even_over_a_restart(keda, namespace, kubeconfig):
    clock = ManualClock()
    document = await stored(keda, capping(namespace, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        for _ in range(3):
            await undone(keda, namespace, loop, clock)
        clock.advance(SETTLED_SECONDS)
        await loop.put(await again(keda, document))  # kopf hands the same one over now and then
        await loop.turn()
        assert await bound_of(keda, namespace) == 9
    document = await keda.replace(changed(await again(keda, document), powerCapLimit=2101))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        clock.advance(1.0)
        (report,) = await loop.turn()
        assert await bound_of(keda, namespace) == 4
        assert "RevertFight" not in {one.type.value for one in report.plan.conditions}
        status = await status_of(keda, namespace)
        assert condition(status, "RevertFight")["status"] == "False"


async def test_a_restart_within_a_fight_does_not_begin_it_anew(keda, namespace, kubeconfig):
    clock = ManualClock()
    document = await stored(keda, capping(namespace, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        for _ in range(3):
            await undone(keda, namespace, loop, clock)
    async with direct_loop(kubeconfig(), Plant(), clock=clock) as loop:
        await loop.put(await again(keda, document))
        clock.advance(SETTLED_SECONDS)
        (report,) = await loop.turn()
        assert report.results == ()
        assert await bound_of(keda, namespace) == 9
