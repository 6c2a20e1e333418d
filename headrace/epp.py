"""`headrace epp`: starts with the arguments of the reference endpoint picker, in its place."""

import argparse
import logging
import os
from pathlib import Path
from typing import Any

import uvloop

from fleet.topology import Fleet
from headrace.config_errors import BadInputError, load_yaml, validated
from headrace.epp_flags import UNUSED, add_arguments, labels
from headrace.log_format import configure_logging
from headrace.serve import fleet_source, serve
from headrace.serve_file import ServeSection

__all__ = ["add_arguments", "run", "serve_section"]

_log = logging.getLogger(__name__)
_DETAILS_FROM = 4  # the reference picker's VERBOSE


def run(args: argparse.Namespace) -> int:
    """Serve an InferencePool until SIGTERM or SIGINT, then drain."""
    section = serve_section(args)
    configure_logging(section.observability.log_format, level=_log_level(args))
    for flag in UNUSED:
        if getattr(args, flag.name.removeprefix("--").replace("-", "_")) is not None:
            _log.warning("%s has no effect: %s", flag.name, flag.why)
    return uvloop.run(serve(section, Fleet(()), fleet_source(section, Path()), args.ready_file))


def serve_section(args: argparse.Namespace) -> ServeSection:
    """What the arguments come to, on top of the file that --settings names.

    Raises:
        BadInputError: With every problem.
    """
    settings = args.settings or _settings_of_environment()
    document = _base(settings)
    where = "epp" if settings is None else f"epp: {settings}"
    kubernetes = document.setdefault("kubernetes", {})
    if not isinstance(kubernetes, dict):
        raise BadInputError(f"{where}: kubernetes: must be a mapping.")
    kubernetes["targets"] = [_target(args)]
    document["ext_proc"] = _ext_proc(args)
    if args.workers is not None:
        document["workers"] = args.workers
    document["admin"] = {"host": args.host, "port": args.metrics_port}
    _telemetry(document, args)
    return validated(document, ServeSection, where=where)


def _settings_of_environment() -> Path | None:
    """For templates of pods, such as KServe's, that merge variables but not arguments."""
    given = os.environ.get("HEADRACE_SETTINGS")
    return Path(given) if given else None


def _base(path: Path | None) -> dict[str, Any]:
    document = {} if path is None else load_yaml(path) or {}
    if not isinstance(document, dict):
        raise BadInputError(f"{path}: must be a mapping.")
    for field in ("fleet", "ext_proc", "admin"):
        if field in document:
            raise BadInputError(f"{path}: {field}: is said by the flags of headrace epp.")
    return document


def _target(args: argparse.Namespace) -> dict[str, Any]:
    namespace = args.pool_namespace or os.environ.get("NAMESPACE") or "default"
    if (args.pool_name is None) == (args.endpoint_selector is None):
        raise BadInputError("epp: give --pool-name or --endpoint-selector, one of them.")
    if args.pool_name is not None:
        return {
            "kind": "InferencePool",
            "namespace": namespace,
            "name": args.pool_name,
            "group": args.pool_group,
        }
    if not args.endpoint_target_ports:
        raise BadInputError("epp: --endpoint-selector needs --endpoint-target-ports.")
    try:
        match_labels = labels(args.endpoint_selector)
    except ValueError as error:
        raise BadInputError(f"epp: --endpoint-selector: {error}.") from error
    return {
        "kind": "Selector",
        "namespace": namespace,
        "match_labels": match_labels,
        "ports": args.endpoint_target_ports,
    }


def _ext_proc(args: argparse.Namespace) -> dict[str, Any]:
    section = {
        "host": args.host,
        "port": args.grpc_port,
        # Gateways know one address of a picker, so several workers share it.
        "shared_port": True,
        "health_port": args.grpc_health_port,
        "secure_serving": args.secure_serving,
        "cert_reload": args.enable_cert_reload,
        "subset_hints": not args.disable_endpoint_subset_filter,
        # The only mode of the reference picker, and so of those who were set up for it.
        "unannounced_body_mode": "FULL_DUPLEX_STREAMED",
        "drain_seconds": args.drain_timeout,
    }
    if args.secure_serving:
        section |= {"cert_path": args.cert_path, "client_ca_file": args.client_ca_file}
    if args.grpc_max_recv_msg_size is not None:
        section["max_body_bytes"] = args.grpc_max_recv_msg_size
    return section


def _telemetry(document: dict[str, Any], args: argparse.Namespace) -> None:
    """The scrape and freshness flags, where they were given."""
    given = {
        "interval_seconds": args.refresh_metrics_interval,
        "metrics_path": args.model_server_metrics_path,
        "scheme": args.model_server_metrics_scheme,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        telemetry = document.setdefault("telemetry", {})
        telemetry["scrape"] = {**(telemetry.get("scrape") or {}), **given}
    fresh_seconds = args.metrics_staleness_threshold
    if fresh_seconds is not None:
        freshness = document.setdefault("freshness", {})
        freshness["fresh_seconds"] = fresh_seconds
        absent = ServeSection.model_fields["freshness"].default.absent_seconds
        freshness.setdefault("absent_seconds", max(fresh_seconds, absent))


def _log_level(args: argparse.Namespace) -> int:
    level = args.zap_log_level or ""
    if level.isdecimal():
        return logging.DEBUG if int(level) >= _DETAILS_FROM else logging.INFO
    if level:
        named = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR}
        if level not in named:
            raise BadInputError(
                f"epp: --zap-log-level must be debug, info, error or a number, got {level!r}."
            )
        return named[level]
    return logging.DEBUG if args.v >= _DETAILS_FROM else logging.INFO
