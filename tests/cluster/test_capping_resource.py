"""The CRD on an API server: it is served, and refuses what the offline check refuses."""

import copy

import pytest
import yaml
from kube_cluster import KubeError

from capper.api.files import InvalidConfigError, parse
from capper.api.generate import generated
from capper.api.schema import custom_resource_definition
from tests.unit.test_capper_api import EXAMPLES, ORIGINAL


@pytest.fixture
async def served(kube):
    await kube.install_crd(custom_resource_definition())
    return kube


def resource(namespace, **changes):
    document = copy.deepcopy(ORIGINAL)
    document["metadata"]["namespace"] = namespace
    document["spec"] = {
        key: value for key, value in {**document["spec"], **changes}.items() if value is not None
    }
    return document


VALID = [
    {},
    {"powerCapLimit": "12.5kW"},
    {"mode": "Enforce", "thresholds": {"restrictRatio": 0.92, "restrictLeaveRatio": 0.85}},
    {"scaleObjectRef": None},
    {"domains": [{"name": "a", "capWatts": 500}, {"name": "b", "parent": "a", "capWatts": 400}]},
    {"carbon": {"provider": {"type": "UKCarbonIntensity"}, "budget": {"grams": 5}}},
    {"gpuClocks": {"enabled": True, "baseMHz": 1980, "minMHz": 1100, "maxMHz": 1800}},
    {"rackConstraints": [{"rackId": "r", "maxPower": "5kW", "maxTemperature": "27.5"}]},
]

BY_SCHEMA = [
    {"powerCapLimit": None},
    {"powerCapLimit": "ten"},
    {"powerCapLimit": 0},
    {"mode": "Yes"},
    {"scaleObjectRef": [{"kind": "Job", "metadata": {"name": "x"}}]},
    {"thresholds": {"watchRatio": 80}},
    {"rackConstraints": [{"rackId": "r"}]},
    {"safety": {"leaveSamples": 0}},
]

BY_RULES = [
    {"scaleObjectRef": None, "deploymentName": None},
    {"thresholds": {"watchRatio": 0.97}},
    {"thresholds": {"watchLeaveRatio": 0.8}},
    {"thresholds": {"shedRatio": 0.9}},
    {"freshness": {"staleAfterSeconds": 400}},
    {"domains": [{"name": "a", "capWatts": 9}, {"name": "a", "capWatts": 9}]},
    {"domains": [{"name": "a", "parent": "z", "capWatts": 9}]},
    {"domains": [{"name": "a", "capWatts": 5}, {"name": "b", "parent": "a", "capWatts": 6}]},
    {"domains": [{"name": "fleet", "capWatts": 9}]},
    {
        "domains": [{"name": "r", "capWatts": 9}],
        "rackConstraints": [{"rackId": "r", "maxPower": 5}],
    },
    {"scaleObjectRef": [{"apiVersion": "apps/v1", "metadata": {"name": "x"}}]},
    {"rackConstraints": [{"rackId": "r", "maxPower": 5}, {"rackId": "r", "maxPower": 6}]},
    {"scaleObjectRef": [{"metadata": {"name": "x"}, "minReplicas": 3, "maxReplicas": 2}]},
    {"carbon": {"provider": {"type": "UKCarbonIntensity"}}},
    {"carbon": {"provider": {"type": "WattTime"}, "budget": {"grams": 5}}},
    {"carbon": {"provider": {"type": "Static"}, "budget": {"grams": 5}}},
    {"gpuClocks": {"minMHz": 1800, "maxMHz": 1100}},
    {"gpuClocks": {"enabled": True}},
    {"gpuClocks": {"lowRatio": 0.9, "highRatio": 0.8}},
    {"cooling": {"safeSupplyCelsius": 40}},
    {"cooling": {"adapter": "http"}},
    {"placement": {"recirculationMatrix": [[1, 2], [3, 4]]}},
    {"metrics": [{"query": "x", "prometheusAddress": "prometheus:9090"}]},
]


@pytest.mark.parametrize("changes", VALID, ids=str)
async def test_a_valid_resource_is_stored(served, namespace, changes):
    document = resource(namespace, **changes)
    parse(document)
    stored = await served.create(document)
    assert stored["spec"]["powerCapLimit"] == document["spec"]["powerCapLimit"]
    assert parse(stored).spec == parse(document).spec


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
async def test_the_examples_apply_unchanged(served, namespace, path):
    document = yaml.safe_load(path.read_text())
    document["metadata"]["namespace"] = namespace
    stored = await served.apply(document, manager="kubectl")
    assert parse(stored).spec == parse(document).spec


@pytest.mark.parametrize("changes", BY_SCHEMA, ids=str)
async def test_what_the_schema_refuses_the_offline_check_refuses(served, namespace, changes):
    document = resource(namespace, **changes)
    with pytest.raises(InvalidConfigError):
        parse(document)
    with pytest.raises(KubeError) as refused:
        await served.create(document)
    assert refused.value.code == 422


@pytest.mark.usefixtures("needs_real_api_server")
@pytest.mark.parametrize("changes", BY_RULES, ids=str)
async def test_what_a_rule_refuses_the_api_server_refuses_too(served, namespace, changes):
    document = resource(namespace, **changes)
    with pytest.raises(InvalidConfigError) as offline:
        parse(document)
    with pytest.raises(KubeError) as refused:
        await served.create(document)
    assert refused.value.code == 422
    said = offline.value.problems[0].rsplit(": ", 1)[-1].rstrip(".")
    assert said in str(refused.value)


async def test_defaults_are_filled_in(served, namespace):
    stored = await served.create(resource(namespace))
    assert stored["spec"]["mode"] == "Observe"
    assert stored["spec"]["metrics"][0]["type"] == "prometheus"


async def test_the_status_is_a_subresource(served, namespace):
    stored = await served.create({**resource(namespace), "status": {"band": "Shed"}})
    assert "status" not in stored
    await served.set_status({**stored, "status": {"band": "Watch", "observedWatts": 700.5}})
    (found,) = await served.list(stored["apiVersion"], stored["kind"], namespace)
    assert found["status"]["band"] == "Watch"


def test_the_committed_file_is_what_is_installed():
    (text,) = [text for path, text in generated().items() if path.suffix == ".yaml"]
    assert yaml.safe_load(text) == custom_resource_definition()
