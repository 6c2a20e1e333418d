"""The reference picker's arguments, as its charts and KServe give them, and what they come to."""

import argparse
import logging

import pytest

from headrace.config_errors import BadInputError
from headrace.epp import _log_level, add_arguments, serve_section
from headrace.epp_flags import UNUSED, duration_seconds, go_spelling, labels, ports, size_bytes
from headrace.main import _with_command
from router.extproc.events import BodyMode
from telemetry.kubernetes.settings import TargetKind

POOL = ["--pool-name", "llama"]


def parsed(*arguments):
    parser = argparse.ArgumentParser(prog="headrace epp")
    add_arguments(parser)
    return parser.parse_args(go_spelling(arguments))


def section(*arguments):
    return serve_section(parsed(*arguments))


def test_the_defaults_are_the_reference_pickers():
    made = section(*POOL)
    settings = made.ext_proc_settings()
    assert (settings.port, settings.health_port, made.admin.port) == (9002, 9003, 9090)
    assert settings.tls.folder is None
    assert not settings.tls.reload
    assert settings.drain_seconds == 30.0
    assert settings.unannounced is BodyMode.FULL_DUPLEX_STREAMED
    [target] = made.kubernetes.settings().targets
    assert (target.kind, target.namespace, target.name, target.group) == (
        TargetKind.INFERENCE_POOL,
        "default",
        "llama",
        "inference.networking.k8s.io",
    )


def test_several_workers_share_the_one_port_that_a_gateway_knows():
    made = section(*POOL, "--workers", "2")
    assert (made.workers, made.ext_proc.port, made.ext_proc.shared_port) == (2, 9002, True)
    assert section(*POOL).workers == 1
    with pytest.raises(BadInputError) as refused:
        section(*POOL, "--workers=0")
    assert refused.value.problems == (
        "epp: workers: input should be greater than or equal to 1, got 0.",
    )


def test_the_arguments_of_kserves_scheduler_are_taken():
    made = section(
        *("--pool-name", "svc-inference-pool", "--pool-namespace", "prod"),
        *("--zap-encoder", "json", "--grpc-port", "9002", "--grpc-health-port", "9003"),
        *("--kv-cache-usage-percentage-metric", "vllm:kv_cache_usage_perc"),
        *("--secure-serving", "--model-server-metrics-scheme", "https"),
        *("--model-server-metrics-https-insecure-skip-verify", "--cert-path", "/etc/ssl/certs"),
    )
    assert str(made.ext_proc_settings().tls.folder) == "/etc/ssl/certs"
    assert made.telemetry.scrape.scheme == "https"
    assert made.kubernetes.targets[0].namespace == "prod"


def test_the_older_spelling_of_the_standalone_chart_is_taken():
    args = parsed("-poolName", "llama", "-v", "4", "--zap-encoder", "json", "-grpcPort=9102")
    made = serve_section(args)
    assert made.ext_proc.port == 9102
    assert _log_level(args) == logging.DEBUG


def test_flags_without_a_command_are_the_pickers():
    assert _with_command(["-poolName", "x"]) == ["epp", "--pool-name", "x"]
    assert _with_command(["--help"]) == ["--help"]
    assert _with_command(["serve", "-x"]) == ["serve", "-x"]
    assert _with_command([]) == []


@pytest.mark.parametrize(
    ("arguments", "secured"),
    [
        ([], True),
        (["--secure-serving"], True),
        (["--secure-serving=true"], True),
        (["--secure-serving=false"], False),
        (["-secureServing=F"], False),
    ],
)
def test_tls_is_on_unless_turned_off(arguments, secured):
    assert (section(*POOL, *arguments).ext_proc_settings().tls is not None) == secured


def test_pods_may_be_selected_instead_of_a_pool():
    made = section("--endpoint-selector", "app=vllm,env==prod", "--endpoint-target-ports", "1,2,1")
    [target] = made.kubernetes.settings().targets
    assert target.kind is TargetKind.SELECTOR
    assert target.match_labels == {"app": "vllm", "env": "prod"}
    assert target.ports == (1, 2)


def test_what_the_flags_set_beyond_ports():
    made = section(
        *POOL,
        "--disable-endpoint-subset-filter",
        *("--grpc-max-recv-msg-size", "10MiB", "--refresh-metrics-interval", "200ms"),
        *("--metrics-staleness-threshold", "20s", "--drain-timeout", "1m30s"),
    )
    settings = made.ext_proc_settings()
    assert not settings.subset_hints
    assert (settings.max_body_bytes, settings.drain_seconds) == (10 * 2**20, 90.0)
    assert made.telemetry.scrape.interval_seconds == 0.2
    assert made.freshness.fresh_seconds == 20.0


def test_a_settings_file_says_the_rest(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(
        "router: {policy: least-request, max_endpoints: 2}\n"
        "telemetry: {scrape: {timeout_seconds: 3}}\n"
        "kubernetes: {default_accelerator: A100}\n"
    )
    made = section(*POOL, "--settings", str(path), "--refresh-metrics-interval=2s")
    assert made.decide_settings().policy == "least-request"
    assert made.telemetry.scrape.timeout_seconds == 3
    assert made.telemetry.scrape.interval_seconds == 2
    assert made.kubernetes.default_accelerator == "A100"
    assert made.kubernetes.targets[0].name == "llama"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give --pool-name or --endpoint-selector"),
        ([*POOL, "--endpoint-selector", "a=b"], "one of them"),
        (["--endpoint-selector", "a=b"], "needs --endpoint-target-ports"),
        (["--endpoint-selector", "a in (b)", "--endpoint-target-ports", "1"], "must be labels"),
        ([*POOL, "--grpc-port", "70000"], "ext_proc.port"),
        ([*POOL, "--metrics-staleness-threshold", "0"], "freshness.fresh_seconds"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(arguments, sentence):
    with pytest.raises(BadInputError, match=sentence.replace("(", r"\(")) as error:
        section(*arguments)
    assert all(problem.startswith("epp") for problem in error.value.problems)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("fleet: x.yaml", "fleet: is said by the flags"), ("- 1", "must be a mapping")],
)
def test_a_settings_file_may_not_say_what_the_flags_say(tmp_path, content, sentence):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(BadInputError, match=sentence):
        section(*POOL, "--settings", str(path))


@pytest.mark.parametrize("flag", UNUSED, ids=lambda flag: flag.name)
def test_flags_without_effect_are_taken_with_and_without_a_value(flag):
    assert section(*POOL, flag.name) == section(*POOL, f"{flag.name}=x") == section(*POOL)


def test_durations_sizes_ports_and_labels():
    assert [duration_seconds(text) for text in ("50ms", "1m30s", "0", "1.5h")] == [
        0.05,
        90,
        0,
        5400,
    ]
    assert [size_bytes(text) for text in ("1000", "10MiB", "25MB", "1Gi")] == [
        1000,
        10 * 2**20,
        25 * 10**6,
        2**30,
    ]
    assert ports("3000,3001") == (3000, 3001)
    assert labels("a=b") == {"a": "b"}
    for read, text in ((duration_seconds, "5"), (duration_seconds, "s5"), (size_bytes, "0")):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)
    for text in ("0", "1,", "70000", ",".join(str(number) for number in range(1, 10))):
        with pytest.raises(argparse.ArgumentTypeError):
            ports(text)
    for text in ("a", "a!=b", "=b"):
        with pytest.raises(ValueError, match="must be labels"):
            labels(text)


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", logging.DEBUG), ("error", logging.ERROR), ("5", logging.DEBUG)],
)
def test_the_log_level_has_two_names(level, expected):
    assert _log_level(parsed(*POOL, "--zap-log-level", level)) == expected


def test_an_unknown_log_level_is_refused():
    with pytest.raises(BadInputError, match="must be debug, info, error"):
        _log_level(parsed(*POOL, "--zap-log-level", "loud"))
