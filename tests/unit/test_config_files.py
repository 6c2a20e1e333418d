"""Configuration files: what is accepted, and that every problem is named at once."""

import textwrap

import pytest

from fleet.priors import prior_profile
from fleet.signals import SignalKind
from headrace.config_errors import BadInputError
from headrace.fleet_file import load_fleet
from headrace.main import main
from headrace.serve_file import load_serve

FLEET = """
backends:
  - name: h100
    accelerator: H100
    parameters: 8e9
    models: [llama, llama-lora]
    domain: rack-1
    replicas:
      - {address: "10.0.0.1:8000", gpu_uuids: [GPU-1]}
      - {address: "10.0.0.2:8000", models: [llama], domain: rack-2}
"""
SERVE = """
fleet: fleet.yaml
ext_proc: {port: 9002}
telemetry:
  scrape: {exporter_urls: ["http://10.0.0.9:9400/metrics"]}
  prometheus:
    url: http://prometheus:9090
    queries:
      power_watts: ["my_watts"]
      temperature_celsius: []
"""


def written(folder, name, text):
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def problems_of(folder, text, load=load_fleet):
    with pytest.raises(BadInputError) as caught:
        load(written(folder, "bad.yaml", text))
    return caught.value.problems


def test_a_fleet_file_becomes_a_fleet(tmp_path):
    fleet = load_fleet(written(tmp_path, "fleet.yaml", FLEET))

    first, second = fleet.replicas()
    assert fleet.models() == ("llama", "llama-lora")
    assert (first.models, first.domain, first.gpu_uuids) == (
        ("llama", "llama-lora"),
        "rack-1",
        ("GPU-1",),
    )
    assert (second.models, second.domain) == (("llama",), "rack-2")
    assert fleet.backends[0].profile == prior_profile("H100", parameters=8e9)


def test_an_own_profile_replaces_the_prior(tmp_path):
    own = FLEET.replace("accelerator: H100", "accelerator: MI300X") + textwrap.indent(
        textwrap.dedent(
            """
            profile:
              step: {base_seconds: 0.01, per_request_seconds: 1e-5, per_kv_token_seconds: 1e-8,
                     per_prompt_token_seconds: 1e-5}
              power: {idle_watts: 100, floor_watts: 300, span_watts: 200, prefill_watts: 700}
              kv_capacity_tokens: 500000
            """
        ),
        "    ",
    )

    fleet = load_fleet(written(tmp_path, "fleet.yaml", own))

    assert fleet.backends[0].profile.power.prefill_watts == 700
    assert fleet.backends[0].profile.source == "fleet file"


def test_every_problem_of_a_fleet_file_is_named_at_once(tmp_path):
    problems = problems_of(
        tmp_path,
        """
        backends:
          - name: a
            accelerator: H100
            parameters: -1
            models: []
            objective: {ttft_seconds: .nan}
            typo: 1
            replicas:
              - {address: "not-an-ip:1"}
              - {address: "10.0.0.1:99999"}
              - {address: "10.0.0.1:8000", models: [3]}
        """,
    )

    assert len(problems) == 7
    assert all(problem.startswith(f"{tmp_path}/bad.yaml: ") for problem in problems)
    for place in (
        "backends.0.parameters: input should be greater than 0, got -1.",
        "backends.0.models: ",
        "backends.0.objective.ttft_seconds: ",
        "backends.0.typo: is not a known field.",
        "backends.0.replicas.0: address must be IP:PORT",
        "backends.0.replicas.1: address must be IP:PORT",
        "backends.0.replicas.2.models.0: ",
    ):
        assert any(place in problem for problem in problems), place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("backends: [", "is not valid YAML (line "),
        ("", "input should be a valid dictionary"),
        ("backends: []", "backends: "),
        (FLEET.replace("H100\n", "Z80\n"), "accelerator 'Z80' has no prior"),
        (FLEET.replace("10.0.0.2", "10.0.0.1"), "address '10.0.0.1:8000' is used more than once"),
    ],
)
def test_a_bad_fleet_file_gets_one_clear_sentence(tmp_path, text, says):
    (problem,) = problems_of(tmp_path, text)

    assert says in problem


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInputError, match=r"nowhere\.yaml: cannot be read"):
        load_fleet(tmp_path / "nowhere.yaml")


def test_a_serve_file_names_its_fleet_relative_to_itself(tmp_path):
    written(tmp_path, "fleet.yaml", FLEET)

    section, fleet = load_serve(written(tmp_path, "serve.yaml", SERVE))

    assert len(list(fleet.replicas())) == 2
    assert section.ext_proc_settings().port == 9002
    assert section.scrape_settings(section.telemetry.scrape).exporter_urls == (
        "http://10.0.0.9:9400/metrics",
    )
    queries = {query.kind: query for query in section.telemetry.prometheus.query_set().queries}
    assert "my_watts" in queries[SignalKind.POWER_WATTS].promql()
    assert SignalKind.TEMPERATURE_CELSIUS not in queries


def test_every_problem_of_a_serve_file_is_named_at_once(tmp_path):
    problems = problems_of(
        tmp_path,
        """
        ext_proc: {}
        admin: {port: 70000}
        router: {policy: magic}
        freshness: {fresh_seconds: 10, absent_seconds: 5}
        telemetry: {prometheus: {url: "not a url", queries: {watts: [x]}}}
        """,
        load_serve,
    )

    text = "\n".join(problems)
    for place in (
        "fleet: is required unless there is a kubernetes section.",
        "ext_proc: give a unix_socket, a port or both.",
        "admin.port: ",
        "router: policy must be one of ",
        "freshness: fresh_seconds <= absent_seconds must hold.",
        "telemetry.prometheus.url: ",
        "telemetry.prometheus.queries.watts",
    ):
        assert place in text, place


def test_check_accepts_good_files_and_says_what_they_are(tmp_path, capsys):
    fleet = written(tmp_path, "fleet.yaml", FLEET)
    serve = written(tmp_path, "serve.yaml", SERVE)

    assert main(["check", str(fleet), str(serve)]) == 0

    printed = capsys.readouterr().out
    assert "a fleet of 1 backends and 2 replicas serving llama, llama-lora" in printed
    assert "a serve file: policy dispatch" in printed


def test_check_prints_the_problems_of_all_files_and_exits_with_2(tmp_path, capsys):
    first = written(tmp_path, "one.yaml", "backends: []")
    second = written(tmp_path, "two.yaml", "what: is this")

    assert main(["check", str(first), str(second)]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "one.yaml: backends: " in lines[0]
    assert "two.yaml: is neither a fleet file" in lines[1]


def test_envoy_config_renders_a_fleet_file(tmp_path, capsys):
    fleet = written(tmp_path, "fleet.yaml", FLEET)

    assert main(["envoy-config", str(fleet), "--ext-proc", "127.0.0.1:9002"]) == 0

    assert "10.0.0.2" in capsys.readouterr().out


def test_envoy_config_says_what_is_wrong_with_its_flags(tmp_path, capsys):
    fleet = written(tmp_path, "fleet.yaml", FLEET)

    assert main(["envoy-config", str(fleet), "--ext-proc", "nonsense"]) == 2

    assert "ext_proc_targets: 'nonsense' must be host:port" in capsys.readouterr().err


def test_explain_without_a_router_is_one_sentence(capsys):
    assert main(["explain", "--admin", "http://127.0.0.1:9"]) == 2

    assert "no router answers at http://127.0.0.1:9" in capsys.readouterr().err
