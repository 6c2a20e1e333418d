"""A service of KServe's is bounded and put back by memory alone; of two cappers one acts."""

import contextlib

from operator_harness import (
    BOUNDS,
    Plant,
    bound_of,
    capper,
    capping,
    deployment,
    direct_loop,
    eventually,
    install,
    scaled_object,
    status_of,
)

from capper.api import API_VERSION, KIND

SERVICE = ("serving.kserve.io/v1beta1", "InferenceService")


def service(namespace, **predictor):
    return {
        "apiVersion": SERVICE[0],
        "kind": SERVICE[1],
        "metadata": {"namespace": namespace, "name": "llama"},
        "spec": {"predictor": {"minReplicas": 1, "model": {"runtime": "vllm"}, **predictor}},
    }


async def spec_of(kube, namespace):
    return (await kube.get(*SERVICE, namespace, "llama"))["spec"]["predictor"]


async def test_kserve_is_bounded_noted_in_the_status_and_put_back(kube, namespace, kubeconfig):
    await install(kube, "kserve-minimal", "keda")
    await kube.create(service(namespace, maxReplicas=8))
    await kube.create(deployment(namespace, "llama-predictor", replicas=4))
    before = await spec_of(kube, namespace)
    refs = [{"kind": "InferenceService", "metadata": {"name": "llama"}}]
    document = await kube.create(capping(namespace, refs=refs, **BOUNDS))
    ref = f"InferenceService/{namespace}/llama"
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        await loop.turn()
        assert await spec_of(kube, namespace) == {**before, "maxReplicas": 4}
        (original,) = (await status_of(kube, namespace))["originals"]
        assert (original["target"], original["value"]) == (ref, "8")
        found = await kube.get(*SERVICE, namespace, "llama")
        assert not found["metadata"].get("annotations"), "KServe would restart every pod"
    # The next process knows it from the status; somebody else has set another part since.
    patch = {"spec": {"predictor": {"model": {"runtime": "other"}}}}
    await kube.merge(*SERVICE, namespace, "llama", patch)
    async with direct_loop(kubeconfig(), Plant()) as loop:
        document = await kube.get(API_VERSION, KIND, namespace, "cap")
        await loop.put(document)
        (report,) = await loop.turn()
        assert report.state.targets[ref].original_max == 8
        await loop.remove(document)
    assert await spec_of(kube, namespace) == {**before, "model": {"runtime": "other"}}


async def test_a_bound_that_the_user_sets_later_is_the_one_that_comes_back(
    kube, namespace, kubeconfig
):
    await install(kube, "kserve-minimal", "keda")
    await kube.create(service(namespace, maxReplicas=8))
    await kube.create(deployment(namespace, "llama-predictor", replicas=4))
    refs = [{"kind": "InferenceService", "metadata": {"name": "llama"}}]
    document = await kube.create(capping(namespace, refs=refs, **BOUNDS))
    async with direct_loop(kubeconfig(), Plant()) as loop:
        await loop.put(document)
        await loop.turn()
        await kube.merge(*SERVICE, namespace, "llama", {"spec": {"predictor": {"maxReplicas": 6}}})
        await loop.turn()
        await loop.remove(await kube.get(API_VERSION, KIND, namespace, "cap"))
    assert (await spec_of(kube, namespace))["maxReplicas"] == 6


async def test_one_leads_and_the_other_takes_over_and_knows_the_prices(kube, namespace, kubeconfig):
    await install(kube, "keda")
    await kube.create(deployment(namespace, replicas=4))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    path = kubeconfig()
    async with contextlib.AsyncExitStack() as leader:
        first = await leader.enter_async_context(
            capper(path, Plant(), namespace=namespace, identity="first")
        )

        async def first_leads():
            return first.election.leading

        await eventually(first_leads)
        async with capper(path, Plant(), namespace=namespace, identity="second") as second:
            spec = {**BOUNDS, "price": {"enabled": True}}
            await kube.create(capping(namespace, cap=2100, **spec))

            async def is_bounded():
                return await bound_of(kube, namespace) == 4

            await eventually(is_bounded)

            async def second_knows_the_price():
                return second._prices.current.ratios.get("fleet", 1.0) > 1.0  # what it publishes

            await eventually(second_knows_the_price)
            assert not second.election.leading
            assert not second.loop.reports, "only the leader turns"
            await leader.aclose()

            async def taken_over():
                return second.election.leading and second.loop.reports

            await eventually(taken_over)
            assert await bound_of(kube, namespace) == 4
