"""The plan of an Envoy and what is rendered from it, without running one."""

from pathlib import Path

import pytest
import yaml

from headrace.envoy_config import (
    EnvoyEndpoint,
    EnvoyLimits,
    EnvoyPlan,
    EnvoyPlanError,
    EnvoyTimeouts,
    render_bootstrap,
    render_yaml,
)
from headrace.envoy_plan import EnvoyBodyMode

EXAMPLE = Path(__file__).parents[2] / "envoy" / "bootstrap.yaml"
EXAMPLE_PLAN = EnvoyPlan(
    endpoints=(
        EnvoyEndpoint(address="10.0.0.11:8000", models=("llama-3.1-8b",)),
        EnvoyEndpoint(address="10.0.0.12:8000", models=("llama-3.1-8b", "llama-3.1-8b-sql")),
        EnvoyEndpoint(address="10.0.0.13:8000", models=("qwen3-32b",)),
    ),
    ext_proc_targets=("unix:/run/headrace/router.sock",),
    listen_host="0.0.0.0",
    listen_port=8080,
    admin_port=9901,
)


def plan(*models, **overrides):
    endpoints = tuple(
        EnvoyEndpoint(address=f"10.0.0.{number}:8000", models=names)
        for number, names in enumerate(models or (("m",),), start=1)
    )
    return EnvoyPlan(**{"endpoints": endpoints, "ext_proc_targets": ("unix:/r.sock",), **overrides})


def clusters(bootstrap):
    return {cluster["name"]: cluster for cluster in bootstrap["static_resources"]["clusters"]}


def connection_manager(bootstrap):
    [listener] = bootstrap["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def filter_names(bootstrap):
    return [
        entry["name"].rpartition(".")[2] for entry in connection_manager(bootstrap)["http_filters"]
    ]


def test_the_commented_example_is_what_its_plan_renders_to():
    assert yaml.safe_load(EXAMPLE.read_text()) == render_bootstrap(EXAMPLE_PLAN)


def test_the_folder_of_the_example_holds_no_python():
    assert not list(EXAMPLE.parent.rglob("*.py"))


def test_the_yaml_text_says_the_same_as_the_mapping():
    assert yaml.safe_load(render_yaml(plan())) == render_bootstrap(plan())


def test_equal_plans_render_to_equal_text():
    assert render_yaml(plan(("a",), ("b",))) == render_yaml(plan(("a",), ("b",)))


@pytest.mark.parametrize("models", [[("m",)], [("m",), ("m",)], [("a", "b"), ("b", "a")]], ids=str)
def test_a_fleet_of_interchangeable_replicas_needs_no_model_in_the_fallback(models):
    bootstrap = render_bootstrap(plan(*models))
    assert filter_names(bootstrap) == ["header_mutation", "ext_proc", "router"]
    assert "subset" not in render_yaml(plan(*models)).replace("subset_hint", "")


@pytest.mark.parametrize("models", [[("a",), ("b",)], [("a", "b"), ("b",)], [("a",), ()]], ids=str)
def test_a_fleet_whose_replicas_differ_in_models_has_a_fallback_by_model(models):
    bootstrap = render_bootstrap(plan(*models))
    assert filter_names(bootstrap) == [
        "header_mutation",
        "ext_proc",
        "json_to_metadata",
        "router",
    ]
    assert "subset_selectors" in render_yaml(plan(*models))


def test_every_cluster_has_the_open_request_limit_of_the_plan():
    bootstrap = render_bootstrap(plan(limits=EnvoyLimits(max_open_requests=7)))
    for cluster in clusters(bootstrap).values():
        [threshold] = cluster["circuit_breakers"]["thresholds"]
        assert {
            threshold[f"max_{name}"] for name in ("connections", "pending_requests", "requests")
        } == {7}


def test_every_timeout_of_the_plan_is_rendered():
    names = EnvoyTimeouts.__dataclass_fields__
    distinct = {name: 3600 + number for number, name in enumerate(names)}
    text = render_yaml(plan(timeouts=EnvoyTimeouts(**distinct)))
    assert [name for name, value in distinct.items() if str(value) not in text] == []


def test_every_limit_of_the_plan_is_rendered():
    distinct = {
        name: 3600 + number for number, name in enumerate(EnvoyLimits.__dataclass_fields__)
    } | {"outlier_max_ejection_ratio": 0.37}
    text = render_yaml(plan(limits=EnvoyLimits(**distinct)))
    rendered = distinct | {"outlier_max_ejection_ratio": "max_ejection_percent: 37"}
    assert [name for name, value in rendered.items() if str(value) not in text] == []


@pytest.mark.parametrize(
    ("targets", "discovery"),
    [
        (("unix:/a.sock", "unix:/b.sock"), "STATIC"),
        (("127.0.0.1:9002", "[::1]:9002"), "STATIC"),
        (("router.headrace.svc:9002",), "STRICT_DNS"),
    ],
)
def test_names_of_routers_are_resolved_and_addresses_are_not(targets, discovery):
    cluster = clusters(render_bootstrap(plan(ext_proc_targets=targets)))["ext_proc"]
    assert cluster["type"] == discovery
    [locality] = cluster["load_assignment"]["endpoints"]
    assert len(locality["lb_endpoints"]) == len(targets)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"endpoints": ()}, "endpoints: at least one is required"),
        ({"ext_proc_targets": ()}, "ext_proc_targets: at least one is required"),
        ({"ext_proc_targets": ("unix:a.sock",)}, "must be unix: and an absolute path"),
        ({"ext_proc_targets": ("router",)}, "'router' must be host:port with port 1..65535"),
        ({"ext_proc_targets": ("unix:/a", "unix:/a")}, "'unix:/a' is named twice"),
        ({"ext_proc_targets": ("unix:/a", "router:1")}, "cannot mix unix: with names"),
        ({"listen_port": 65536}, "listen_port: 65536 is not in 0..65535"),
        ({"admin_port": -1}, "admin_port: -1 is not in 0..65535"),
        ({"listen_host": "localhost"}, "listen_host: 'localhost' must be an IP address"),
    ],
)
def test_a_plan_that_envoy_could_not_serve_is_refused(overrides, message):
    with pytest.raises(EnvoyPlanError, match=f"^.*{message}$"):
        plan(**overrides)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.0.1",
        "10.0.0.1:",
        ":8000",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "host:80",
        "::1:80",
        "[::1:80",
    ],
)
def test_an_endpoint_needs_an_ip_address_and_a_port(address):
    with pytest.raises(EnvoyPlanError, match="endpoints: "):
        EnvoyEndpoint(address=address)


def test_an_address_named_twice_is_refused():
    twice = EnvoyEndpoint(address="10.0.0.1:80")
    with pytest.raises(EnvoyPlanError, match=r"'10\.0\.0\.1:80' is named twice"):
        plan(endpoints=(twice, twice))


def test_full_duplex_streams_both_ways_and_sends_trailers():
    filters = connection_manager(render_bootstrap(plan(body_mode=EnvoyBodyMode.FULL_DUPLEX)))
    [ext_proc] = [
        entry["typed_config"]
        for entry in filters["http_filters"]
        if entry["name"] == "envoy.filters.http.ext_proc"
    ]
    assert ext_proc["processing_mode"] == {
        "request_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED",
        "request_trailer_mode": "SEND",
        "response_header_mode": "SEND",
        "response_body_mode": "FULL_DUPLEX_STREAMED",
        "response_trailer_mode": "SEND",
    }


def test_tls_to_routers_speaks_h2_and_is_refused_for_sockets():
    bootstrap = render_bootstrap(plan(ext_proc_targets=("10.0.0.9:9002",), ext_proc_tls=True))
    socket = clusters(bootstrap)["ext_proc"]["transport_socket"]
    assert socket["typed_config"]["common_tls_context"]["alpn_protocols"] == ["h2"]
    assert "transport_socket" not in clusters(bootstrap)["replicas"]
    with pytest.raises(EnvoyPlanError, match="ext_proc_tls"):
        plan(ext_proc_tls=True)
