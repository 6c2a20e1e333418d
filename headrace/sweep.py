"""`headrace sweep`: lifts rack gates that nobody lifted in time."""

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from kubernetes.aio.client import ApiClient
from prometheus_client import CollectorRegistry, start_http_server

from capper.kube.api import KubeApi, KubeError
from capper.racks.sweeper import Sweeper
from headrace.config_errors import BadInputError
from headrace.log_format import configure_logging
from telemetry.fleet_source import FleetSourceError
from telemetry.kubernetes.client import load_configuration
from telemetry.system_clock import SystemClock

_log = logging.getLogger(__name__)
_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--namespace", action="append", default=[], help="swept; may be repeated; default: all"
    )
    parser.add_argument(
        "--gate-seconds",
        type=_seconds,
        default=60.0,
        help="gates of older pods are lifted; above placement.gateSeconds (default: 60)",
    )
    parser.add_argument(
        "--period-seconds", type=_seconds, default=5.0, help="between sweeps (default: 5)"
    )
    parser.add_argument("--once", action="store_true", help="one sweep, for a CronJob")
    parser.add_argument("--kubeconfig", type=Path, help="default: the pod's own account")
    parser.add_argument("--metrics-port", type=int, help="default: no metrics are served")
    parser.add_argument("--metrics-host", default="127.0.0.1", help="address of that port")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Sweep until SIGTERM or SIGINT, or once."""
    configure_logging(args.log_format)
    return asyncio.run(_sweep(args))


async def _sweep(args: argparse.Namespace) -> int:
    registry = CollectorRegistry()
    try:
        configuration = await load_configuration(args.kubeconfig and str(args.kubeconfig))
        if args.metrics_port is not None:
            start_http_server(args.metrics_port, args.metrics_host, registry)
    except FleetSourceError as error:
        raise BadInputError(f"sweep: {error}.") from error
    except (OSError, OverflowError) as error:
        raise BadInputError(f"sweep: --metrics-port: {error}.") from error
    async with ApiClient(configuration) as client:
        sweeper = Sweeper(
            KubeApi(client),
            SystemClock(),
            registry,
            namespaces=args.namespace,
            gate_seconds=args.gate_seconds,
        )
        if args.once:
            return await _once(sweeper)
        task = asyncio.create_task(sweeper.run(args.period_seconds))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return 0


async def _once(sweeper: Sweeper) -> int:
    try:
        lifted = await sweeper.sweep()
    except KubeError as error:
        _log.error("the sweep ended early: %s", error)
        return _FAILED
    _log.info("%d gates lifted", lifted)
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and finite")
    return value
