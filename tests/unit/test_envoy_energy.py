"""What Envoy is told of energy: fields, the gRPC access log and the modes that bring them."""

import pytest

from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, EnvoyPlanError, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode

KEYS = {"joules", "grams_co2e", "method", "coverage_ratio", "predicted_dynamic_joules"}


def rendered(**fields):
    plan = EnvoyPlan(
        endpoints=(EnvoyEndpoint(address="10.0.0.1:8000", models=("m",)),),
        ext_proc_targets=("unix:/r.sock",),
        **fields,
    )
    resources = render_bootstrap(plan)["static_resources"]
    [listener] = resources["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"], resources["clusters"]


def energy_keys(manager):
    fields = manager["access_log"][0]["typed_config"]["log_format"]["json_format"]
    return {name.removeprefix("energy_") for name in fields if name.startswith("energy_")}


def response_header_mode(manager):
    [mode] = [
        entry["typed_config"]["processing_mode"]["response_header_mode"]
        for entry in manager["http_filters"]
        if entry["name"] == "envoy.filters.http.ext_proc"
    ]
    return mode


def test_by_default_nothing_of_the_response_is_shown_and_no_energy_logged():
    manager, clusters = rendered()
    assert energy_keys(manager) == set()
    assert len(manager["access_log"]) == 1
    assert [cluster["name"] for cluster in clusters] == ["replicas", "ext_proc"]
    assert response_header_mode(manager) == "SKIP"


def test_an_access_log_target_brings_response_headers_energy_fields_and_a_grpc_log():
    manager, clusters = rendered(access_log_target="127.0.0.1:9004")
    assert energy_keys(manager) == KEYS
    assert response_header_mode(manager) == "SEND"
    common = manager["access_log"][1]["typed_config"]["common_config"]
    assert common["grpc_service"]["envoy_grpc"]["cluster_name"] == "access_log"
    assert [cluster["type"] for cluster in clusters if cluster["name"] == "access_log"] == [
        "STATIC"
    ]


def test_a_name_is_resolved():
    _, clusters = rendered(access_log_target="router.default.svc:9004")
    assert clusters[-1]["type"] == "STRICT_DNS"


def test_full_duplex_brings_energy_fields_by_itself():
    manager, _ = rendered(body_mode=EnvoyBodyMode.FULL_DUPLEX)
    assert energy_keys(manager) == KEYS
    assert len(manager["access_log"]) == 1


@pytest.mark.parametrize("target", ["nothing", "host:0", ":9004", "::1:9004"])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(EnvoyPlanError, match=r"^access_log_target: "):
        rendered(access_log_target=target)
