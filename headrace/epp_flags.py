"""The reference endpoint picker's command line: its names, its spellings, its units.

Flags are Go's: `--flag`, `--flag=false`, a single dash before a long name, durations such as 50ms,
sizes such as 10MiB.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_DURATION_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
_SIZE = re.compile(r"(\d+)([KMG]i?)?B?", re.IGNORECASE)
_SIZE_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_TRUE, _FALSE = frozenset({"true", "t", "1"}), frozenset({"false", "f", "0"})
_MAX_PORTS = 8  # of an InferencePool


class Unused(NamedTuple):
    """A flag of the reference picker that has nothing to set here, and why."""

    name: str
    why: str


UNUSED = (
    Unused("--allow-experimental-plugins", "there are no plugins"),
    Unused("--cache-info-metric", "vLLM's names are known"),
    Unused("--config-file", "an EndpointPickerConfig arranges plugins; see --settings"),
    Unused("--config-text", "an EndpointPickerConfig arranges plugins; see --settings"),
    Unused("--enable-grpc-stream-metrics", "they are always on"),
    Unused("--enable-pprof", "there is no Go profile of a Python process"),
    Unused("--grpc-max-send-msg-size", "replies are cut to 62,000 bytes"),
    Unused("--ha-enable-leader-election", "every replica decides, with its own ledger"),
    Unused("--health-checking", "health is always served"),
    Unused("--kv-cache-usage-percentage-metric", "vLLM's names are known"),
    Unused("--lora-info-metric", "vLLM's names are known"),
    Unused("--metrics-cert-dir", "the admin port is plain"),
    Unused("--metrics-client-ca-file", "the admin port is plain"),
    Unused("--metrics-endpoint-auth", "the admin port asks nobody: keep it inside the cluster"),
    Unused("--model-server-metrics-https-insecure-skip-verify", "see telemetry.scrape"),
    Unused("--model-server-metrics-port", "metrics are read where requests are served"),
    Unused("--refresh-prometheus-metrics-interval", "metrics are computed when scraped"),
    Unused("--total-queued-requests-metric", "vLLM's names are known"),
    Unused("--total-running-requests-metric", "vLLM's names are known"),
    Unused("--tracing", "traces are set in --settings"),
    Unused("--zap-devel", "there is one kind of log"),
    Unused("--zap-encoder", "there is one kind of log"),
    Unused("--zap-stacktrace-level", "there is one kind of log"),
    Unused("--zap-time-encoding", "there is one kind of log"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the reference picker's options, and two of ours."""
    parser.allow_abbrev = False
    pool = parser.add_argument
    pool("--pool-name", help="InferencePool to serve")
    pool("--pool-namespace", help="its namespace; $NAMESPACE, else default")
    pool("--pool-group", default="inference.networking.k8s.io", help="its API group")
    pool("--endpoint-selector", metavar="LABELS", help="pods to serve instead: a=b,c=d")
    pool("--endpoint-target-ports", type=ports, default=(), metavar="PORTS", help="of those pods")
    _switch(parser, "--disable-endpoint-subset-filter", default=False)
    pool("--grpc-port", type=int, default=9002, help="ext_proc")
    pool("--grpc-health-port", type=int, default=9003, help="gRPC health alone, plain text")
    pool("--metrics-port", type=int, default=9090, help="admin port")
    _switch(parser, "--secure-serving", default=True)
    pool("--cert-path", type=Path, help="folder with tls.crt and tls.key")
    _switch(parser, "--enable-cert-reload", default=False)
    pool("--drain-timeout", type=duration_seconds, default=30.0, metavar="DURATION")
    pool("--grpc-max-recv-msg-size", type=size_bytes, metavar="SIZE", help="largest body")
    pool("--refresh-metrics-interval", type=duration_seconds, metavar="DURATION")
    pool("--metrics-staleness-threshold", type=duration_seconds, metavar="DURATION")
    pool("--model-server-metrics-path", metavar="PATH")
    pool("--model-server-metrics-scheme", choices=("http", "https"))
    pool("-v", "--v", type=int, default=2, metavar="N", help="4 and more log details")
    pool("--zap-log-level", metavar="LEVEL", help="debug, info or error, or a number as for -v")
    pool("--host", default="0.0.0.0", help="address of all ports")  # noqa: S104 - a pod's
    pool("--client-ca-file", type=Path, help="serve only clients that these have signed")
    pool("--settings", type=Path, metavar="FILE", help="serve file; $HEADRACE_SETTINGS")
    pool("--ready-file", type=Path, help="as of headrace serve")
    pool("--workers", type=int, metavar="N", help="processes that answer the gateway; 1")
    for flag in UNUSED:
        pool(flag.name, nargs="?", const="true", metavar="X", help=f"accepted; {flag.why}")


def go_spelling(arguments: Sequence[str]) -> list[str]:
    """Arguments with `-poolName x` and `-pool-name x` as `--pool-name x`."""
    return [_long(each) for each in arguments]


def _long(argument: str) -> str:
    match = re.fullmatch(r"--?([A-Za-z][\w-]+)(=.*)?", argument, re.DOTALL)
    if match is None or argument.startswith("-v="):
        return argument
    name = re.sub(r"(?<=[a-z])([A-Z])", lambda m: "-" + m.group(1).lower(), match.group(1))
    return f"--{name}{match.group(2) or ''}"


def duration_seconds(text: str) -> float:
    """A Go duration ("1m30s", "50ms") in seconds."""
    parts = _DURATION_PART.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise argparse.ArgumentTypeError(f"must be a duration such as 50ms or 1m30s, got {text!r}")
    return sum(float(number) * _DURATION_SECONDS[unit] for number, unit in parts)


def size_bytes(text: str) -> int:
    """A size ("10MiB", "25M", "1000") in bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match.group(1)) == 0:
        raise argparse.ArgumentTypeError(f"must be a size such as 10MiB, got {text!r}")
    return int(match.group(1)) * _SIZE_BYTES[(match.group(2) or "").lower()]


def ports(text: str) -> tuple[int, ...]:
    """Up to eight ports with commas between them, each once."""
    numbers = tuple(dict.fromkeys(text.split(",")))
    valid = [number for number in numbers if number.isdecimal() and 1 <= int(number) <= 65535]  # noqa: PLR2004 - the highest port
    if len(valid) != len(numbers) or len(numbers) > _MAX_PORTS:
        raise argparse.ArgumentTypeError(
            f"must be 1 to {_MAX_PORTS} ports with commas between them, got {text!r}"
        )
    return tuple(int(number) for number in numbers)


def labels(text: str) -> dict[str, str]:
    """A label selector of equalities ("a=b,c=d").

    Raises:
        ValueError: With what is wrong; set-based selectors are not served.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        value = value.removeprefix("=")
        if not equals or not key.strip() or key.rstrip().endswith("!") or "(" in part:
            raise ValueError(f"must be labels such as app=vllm,env=prod, got {text!r}")
        found[key.strip()] = value.strip()
    return found


def _switch(parser: argparse.ArgumentParser, name: str, *, default: bool) -> None:
    """A Go boolean: --name, --name=true, --name=false."""
    parser.add_argument(name, nargs="?", const=True, type=_boolean, default=default, metavar="BOOL")


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
