"""Killed at any await, whatever holds the bound: the next process puts back what was there."""

import asyncio

import pytest
from operator_harness import (
    Plant,
    again,
    capping,
    deployment,
    direct_loop,
    install,
    killed_in_a_turn,
    scaled_object,
    stored,
)

from capper.actuators.reading import ORIGINAL, PAUSE
from capper.kube.kinds import at

QUICK = {"price": {"enabled": False}, "brake": {"enabled": False}}
SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 8}},
}
LLM_SERVICE = {
    "apiVersion": "serving.kserve.io/v1alpha2",
    "kind": "LLMInferenceService",
    "spec": {
        "model": {"uri": "hf://a/b"},
        "scaling": {"minReplicas": 1, "maxReplicas": 6, "wva": {"hpa": {}}},
    },
}


def named(obj, namespace):
    return {**obj, "metadata": {"namespace": namespace, "name": "it"}}


# Its objects, the configuration besides, and what a whole turn leaves where.
CASES = {
    "pause": (
        lambda namespace: [
            deployment(namespace, "llm"),
            scaled_object(namespace, "it", maxReplicaCount=9),
        ],
        {"cap": 2100},
        (PAUSE, "true"),
    ),
    "deployment": (
        lambda namespace: [deployment(namespace, "it")],
        {"cap": 1800},
        (("spec", "replicas"), 3),
    ),
    "kserve": (
        lambda namespace: [named(SERVICE, namespace), deployment(namespace, "it-predictor")],
        {"cap": 2100},
        (("spec", "predictor", "maxReplicas"), 4),
    ),
    "llm": (
        lambda namespace: [named(LLM_SERVICE, namespace), deployment(namespace, "it-kserve")],
        {"cap": 2100},
        (("spec", "scaling", "maxReplicas"), 4),
    ),
}


def without_versions(obj):
    """What a user sees of it."""
    annotations = at(obj, ("metadata", "annotations")) or {}
    return obj["spec"], {key: value for key, value in annotations.items() if "cap" in key}


@pytest.mark.parametrize("case", CASES)
async def test_the_next_process_puts_back_what_was_there(kube, namespace, kubeconfig, case):
    make, spec, (path, written) = CASES[case]
    await install(kube, "keda", "kserve-minimal")
    objects = make(namespace)
    for obj in objects:
        await kube.create(obj)
    (it,) = [one for one in objects if one["metadata"]["name"] == "it"]
    ref = [{"kind": it["kind"], "metadata": {"name": "it"}}]

    async def now():
        return await kube.get(it["apiVersion"], it["kind"], namespace, "it")

    before = without_versions(await now())
    steps, finished, seen = 0, False, set()
    while not finished:
        name = f"cap-{steps}"
        document = await stored(kube, capping(namespace, name, refs=ref, **spec, **QUICK))
        async with direct_loop(kubeconfig(), Plant()) as loop:
            await loop.put(await again(kube, document))
            finished = await killed_in_a_turn(loop, steps)
        await asyncio.sleep(0.05)  # what the API server had received, it still does
        seen.add(at(await now(), path) == written)
        async with direct_loop(kubeconfig(), Plant()) as loop:
            await loop.remove(await again(kube, document))
        found = await now()
        assert without_versions(found) == before
        assert at(found, ORIGINAL) is None
        assert at(found, PAUSE) is None
        steps += 3
    assert seen == {True, False}, "some were killed before the write, and a whole turn writes"
