"""`headrace conformance HOST:PORT`."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from headrace.config_errors import BadInputError
from headrace.conformance import report
from headrace.conformance.case import BOTH, Case
from headrace.conformance.lab import Settings
from headrace.conformance.served_models import first_served_model
from headrace.conformance.suite import CASES, refusal, run_suite
from headrace.conformance.transport import Target, connected, tls_context
from headrace.conformance.verdicts import CaseResult, Verdict, count
from headrace.conformance.wire import BodyMode

_MAX_PORT = 65_535
_BODY_MODES = {
    "full-duplex": (BodyMode.FULL_DUPLEX,),
    "buffered": (BodyMode.BUFFERED,),
    "both": BOTH,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "target", nargs="?", metavar="HOST:PORT", help="the picker's external processing port"
    )
    security = parser.add_mutually_exclusive_group()
    security.add_argument(
        "--tls",
        action="store_true",
        help="speak TLS and accept any certificate unless --ca is given (default)",
    )
    security.add_argument("--insecure", action="store_true", help="speak without TLS")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="accept certificates of this CA")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="client certificate")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument("--authority", metavar="NAME", help="the name to ask for, also in TLS")
    parser.add_argument("--model", metavar="NAME", help="a model that the picker serves")
    parser.add_argument(
        "--body-mode",
        choices=sorted(_BODY_MODES),
        default="full-duplex",
        help="how bodies are sent; full-duplex is what the protocol demands",
    )
    parser.add_argument(
        "--health-port",
        type=int,
        metavar="PORT",
        help="where gRPC health is served, without TLS, if elsewhere",
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=10.0, metavar="S", help="limit on each wait"
    )
    parser.add_argument(
        "--case",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these cases; after the target",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--list", action="store_true", help="print the rules and try nothing")


def run(args: argparse.Namespace) -> int:
    """Try the picker; 0 when no case failed, 1 when one did.

    Raises:
        BadInputError: When there is no picker to try, or not as asked.
    """
    console = Console()
    cases = _selected(args.case)
    if args.list:
        report.show_cases(console, cases)
        return 0
    target = _target(args)
    health = _health_target(args, target)
    if args.report is not None and not args.report.resolve().parent.is_dir():
        raise BadInputError(f"--report {args.report}: there is no such folder.")
    with console.status("connecting") as status:
        results, settings = asyncio.run(_tried(args, target, health, cases, told=status.update))
    report.show(console, results, target=target.text)
    if args.report is not None:
        try:
            report.write(args.report, report.document(results, _options(args, settings)))
        except OSError as error:
            raise BadInputError(
                f"--report {args.report}: cannot be written: {error.strerror}."
            ) from error
    return 1 if count(results, Verdict.FAIL) else 0


async def _tried(
    args: argparse.Namespace,
    target: Target,
    health: Target | None,
    cases: Sequence[Case],
    *,
    told: Callable[[str], object],
) -> tuple[list[CaseResult], Settings]:
    modes = _BODY_MODES[args.body_mode]
    settings = Settings(timeout_seconds=args.timeout_seconds)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(connected(target))
        health_channel = health and await stack.enter_async_context(connected(health))
        model = args.model or await first_served_model(channel, modes[0], settings)
        if model:
            settings = replace(settings, model=model)
        refused = await refusal(channel, modes=modes, settings=settings)
        if refused:
            raise BadInputError(
                f"{target.text}: {refused}; the suite needs a picker with a ready endpoint and "
                "the name of a model that it serves (--model)."
            )
        results = await run_suite(
            channel,
            modes=modes,
            settings=settings,
            health_channel=health_channel,
            cases=cases,
            told=told,
        )
    return results, settings


def _selected(names: Sequence[str]) -> Sequence[Case]:
    known = {case.name: case for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadInputError(
            *(f"--case {name}: there is no such case; see --list." for name in unknown)
        )
    return [known[name] for name in dict.fromkeys(names)] if names else CASES


def _target(args: argparse.Namespace) -> Target:
    host, _, port = (args.target or "").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and _is_port(port)):
        raise BadInputError(f"the target must be HOST:PORT, got '{args.target or ''}'.")
    if args.timeout_seconds <= 0.0:
        raise BadInputError(f"--timeout-seconds must be above 0, got {args.timeout_seconds:g}.")
    if args.insecure and (args.ca or args.cert or args.key):
        raise BadInputError("--ca, --cert and --key are for TLS and not for --insecure.")
    if (args.cert is None) != (args.key is None):
        raise BadInputError("--cert and --key must be given together.")
    return Target(
        host=host,
        port=int(port),
        tls=None if args.insecure else tls_context(args.ca, args.cert, args.key),
        authority=args.authority or args.target,
        timeout_seconds=args.timeout_seconds,
    )


def _health_target(args: argparse.Namespace, target: Target) -> Target | None:
    if args.health_port is None:
        return None
    if not _is_port(str(args.health_port)):
        raise BadInputError(f"--health-port must be 1 to {_MAX_PORT}, got {args.health_port}.")
    # The probes of Kubernetes speak no TLS, so a health port of its own does not either.
    return replace(target, port=args.health_port, tls=None)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT


def _options(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return {
        "target": args.target,
        "tls": not args.insecure,
        "certificate_checked": args.ca is not None,
        "client_certificate": args.cert is not None,
        "authority": args.authority,
        "model": settings.model,
        "body_modes": [mode.value for mode in _BODY_MODES[args.body_mode]],
        "health_port": args.health_port,
        "timeout_seconds": args.timeout_seconds,
        "response_chunks": settings.response_chunks,
        "large_body_bytes": settings.large_body_bytes,
        "streams": settings.streams,
    }
