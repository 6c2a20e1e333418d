"""The rules of carbon and cooling: refused by the API server and offline, with one sentence."""

import pytest
from kube_cluster import KubeError
from operator_harness import capping

from capper.api.files import InvalidConfigError, parse
from capper.api.schema import custom_resource_definition

SCHEDULE = {"minCapWatts": 1, "maxCapWatts": 2}
STATIC = {"type": "Static", "gramsPerKilowattHour": 100}
MAPS = {"type": "ElectricityMaps", "zone": "DE"}
HTTP = {"adapter": "http", "url": "http://127.0.0.1:1/x"}
KEY = {"secretRef": {"name": "key"}}


def carbon(provider, **more):
    return {"carbon": {"provider": provider, "schedule": SCHEDULE, **more}}


VALID = [
    carbon(MAPS),
    carbon({**MAPS, **KEY, "baseUrl": "https://mirror.example.com"}),
    carbon({"type": "UKCarbonIntensity", "baseUrl": "http://127.0.0.1:8080"}),
    carbon({**STATIC, "kind": "marginal"}, fallback={"type": "WattTime", "zone": "CAISO_NORTH"}),
    carbon(MAPS, fallback=STATIC),
    {"cooling": {}},
    {"cooling": {**HTTP, "body": '{"a": [$supplyCelsius, $validSeconds]}'}},
    {
        "cooling": {
            **HTTP,
            "body": '{"a": $supplyCelsius, "b": $airflowCubicMetersPerSecond}',
            "maxAirflowCubicMetersPerSecond": 20,
        }
    },
]
REFUSED = [
    (carbon({"type": "ElectricityMaps"}), "zone: ElectricityMaps and WattTime need it"),
    (carbon({**STATIC, **KEY}), "secretRef: belongs to ElectricityMaps and WattTime"),
    (carbon({**MAPS, "baseUrl": "http://x.example.com"}), "where they need a key it comes from"),
    (carbon({**STATIC, "baseUrl": "http://x.example.com"}), "baseUrl: belongs to network provid"),
    (carbon({**MAPS, "kind": "average"}), "kind: belongs to Static and CSV"),
    (carbon(MAPS, fallback={**STATIC, "kind": "marginal"}), "averages and marginals are never"),
    (carbon({"type": "WattTime", "zone": "X"}, fallback=STATIC), "averages and marginals are nev"),
    ({"cooling": {"adapter": "http"}}, "url: belongs to adapter http"),
    ({"cooling": {"safeSupplyCelsius": 30}}, "must lie between minSupplyCelsius and maxSupplyC"),
    ({"cooling": {"minAirflowCubicMetersPerSecond": 2, "maxAirflowCubicMetersPerSecond": 1}}, "a"),
    (
        {"cooling": {**HTTP, "body": "[$supplyCelsius, $airflowCubicMetersPerSecond]"}},
        "has an air flow, which needs maxAirflowCubicMetersPerSecond",
    ),
]
OFFLINE_ONLY = ['{"SetPoint": 18}', "$supplyCelsius }", '{"a": $supplyCelsius, "b": $other}', "$"]


@pytest.fixture
async def served(kube):
    await kube.install_crd(custom_resource_definition())
    return kube


@pytest.mark.parametrize("changes", VALID)
async def test_what_is_allowed_is_stored(served, namespace, changes):
    document = capping(namespace, **changes)
    parse(document)
    await served.create(document)


@pytest.mark.usefixtures("needs_real_api_server")
@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
async def test_what_is_not_is_refused_with_its_field(served, namespace, changes, sentence):
    document = capping(namespace, **changes)
    with pytest.raises(InvalidConfigError) as offline:
        parse(document)
    assert sentence in " ".join(offline.value.problems)
    with pytest.raises(KubeError) as refused:
        await served.create(document)
    assert refused.value.code == 422


@pytest.mark.parametrize("body", OFFLINE_ONLY)
async def test_a_body_that_is_none_is_stored_and_never_used(served, namespace, body):
    """The API server's rules know no JSON: such a resource gets Ready=False."""
    document = capping(namespace, cooling={**HTTP, "body": body})
    with pytest.raises(InvalidConfigError, match="must be JSON once its"):
        parse(document)
    await served.create(document)
