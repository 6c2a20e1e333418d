"""`headrace demo`: everything on one machine, live, then compared with least-request."""

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from headrace.child_process import ChildStartError
from headrace.config_errors import BadInputError
from headrace.demo.arm import ArmPlan, run_arm, running
from headrace.demo.cap_plan import BRAKE, PACING, PERIOD_SECONDS, CapSchedule
from headrace.demo.layout import FLOORS, MODEL, MODEL_WEIGHTS
from headrace.demo.report import Arm, Inputs, report
from headrace.demo.tables import print_arm, print_cap_step, print_comparison
from headrace.demo.watch import Watch
from headrace.prometheus_process import prometheus_binary
from headrace.worker_targets import MAX_WORKERS
from loadtest.arrivals import Arrival, assign_models, azure_like
from loadtest.traces.modifiers import (
    limit,
    mean_requests_per_second,
    speed_up,
    speed_up_factor,
    window,
)
from loadtest.traces.opening import open_trace
from router.decide.policies import POLICIES

_RIVAL = "least-request"
_MAX_PORT = 65535
_TERMINATED = 128 + signal.SIGTERM  # as shells count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--requests", type=int, default=400, metavar="N")
    parser.add_argument(
        "--duration-seconds", type=float, metavar="S", help="only arrivals of the first S seconds"
    )
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second, on average")
    parser.add_argument(
        "--policy", default="dispatch", choices=sorted(POLICIES), help="of the first arm"
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="arrivals: Azure or BurstGPT CSV, Mooncake JSON lines",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes of the router"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0, help="Envoy's port; 0 takes a free one")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument(
        "--exit", action="store_true", help="end after the comparison instead of serving on"
    )


def run(args: argparse.Namespace) -> int:
    """Run both arms, print and write the comparison; 1 when any request failed."""
    _check(args)
    arrivals = _arrivals(args)
    console = Console()
    try:
        return asyncio.run(_demo(args, arrivals, console))
    except ChildStartError as error:
        console.print(str(error), markup=False, style="red")
        return 1
    except asyncio.CancelledError:  # by SIGTERM; Ctrl-C is a KeyboardInterrupt
        return _TERMINATED


def _check(args: argparse.Namespace) -> None:
    problems = [*_bad_figures(args), *_bad_places(args)]
    if problems:
        raise BadInputError(*problems)


def _bad_figures(args: argparse.Namespace) -> Iterator[str]:
    if args.requests < 1:
        yield f"demo: --requests must be 1 or more, got {args.requests}."
    if not 0 < args.rate < math.inf:
        yield f"demo: --rate must be a number above 0, got {args.rate}."
    if not 1 <= args.workers <= MAX_WORKERS:
        yield f"demo: --workers must be from 1 to {MAX_WORKERS}, got {args.workers}."
    if args.duration_seconds is not None and not args.duration_seconds > 0:
        yield f"demo: --duration-seconds must be above 0, got {args.duration_seconds}."


def _bad_places(args: argparse.Namespace) -> Iterator[str]:
    """Asked before anything runs: report and port are needed after minutes."""
    if not 0 <= args.port <= _MAX_PORT:
        yield f"demo: --port must be from 0 to {_MAX_PORT}, got {args.port}."
    elif args.port and not _is_free(args.port):
        yield f"demo: --port {args.port} is in use."
    if args.report is not None and not args.report.absolute().parent.is_dir():
        yield f"demo: --report {args.report}: there is no such folder."
    elif args.report is not None and args.report.is_dir():
        yield f"demo: --report {args.report}: is a folder, must be a file."


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _arrivals(args: argparse.Namespace) -> list[Arrival]:
    """The first `--requests` arrivals, at `--rate` on average, with both models mixed in."""
    if args.trace is None:
        arrivals = azure_like(
            args.requests, requests_per_second=args.rate, seed=args.seed, models=MODEL_WEIGHTS
        )
    else:
        try:
            recorded = list(limit(open_trace(args.trace, model=MODEL), count=args.requests))
            factor = speed_up_factor(recorded, requests_per_second=args.rate)
        except ValueError as error:  # a `TraceError` is one
            raise BadInputError(f"demo: {error}") from error
        arrivals = list(
            assign_models(speed_up(recorded, factor=factor), models=MODEL_WEIGHTS, seed=args.seed)
        )
    if args.duration_seconds is not None:
        arrivals = list(window(arrivals, start_seconds=0.0, end_seconds=args.duration_seconds))
    return arrivals


async def _demo(args: argparse.Namespace, arrivals: list[Arrival], console: Console) -> int:
    """Both arms, one after the other, each on a fresh fleet."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with_prometheus = prometheus_binary() is not None
    inputs = _inputs(args, arrivals, with_prometheus=with_prometheus)
    console.print(
        f"{inputs.requests} requests at {args.rate:g}/s ({inputs.source}) through real Envoy and "
        f"the real router to 8 simulated GPUs; telemetry: {inputs.telemetry}"
    )
    cap = CapSchedule() if inputs.no_cap_step_because is None else None
    console.print(_announced(cap, inputs), highlight=False)
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        arms: list[Arm] = []
        for number, policy in enumerate(dict.fromkeys((args.policy, _RIVAL))):
            plan = ArmPlan(
                policy=policy,
                # Short: the path of a unix socket may have about 100 characters.
                folder=Path(folder) / str(number),
                with_prometheus=with_prometheus,
                seed=args.seed,
                cap=None if arms else cap,
                workers=args.workers,
            )
            arms.append(await run_arm(plan, arrivals, console))
            print_arm(console, arms[-1])
        result = report(arms, inputs)
        print_cap_step(console, result["cap_step"])
        print_comparison(console, arms)
        if args.report is not None:
            args.report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            console.print(f"report: {args.report}")
        if not args.exit:
            await _serve_on(args, Path(folder), console, with_prometheus=with_prometheus)
    return 1 if any(arm.summary.failed for arm in arms) else 0


async def _serve_on(
    args: argparse.Namespace, folder: Path, console: Console, *, with_prometheus: bool
) -> None:
    """Keep a lane up for the visitor's own requests, until Ctrl-C."""
    plan = ArmPlan(
        policy=args.policy,
        folder=folder / "open",
        with_prometheus=with_prometheus,
        listen_port=args.port,
        seed=args.seed,
        workers=args.workers,
    )
    async with running(plan) as (_, lane):
        console.print(
            f"\nYours until Ctrl-C: OpenAI API at {lane.base_url}/v1 (model {MODEL}); "
            f"why a request went where it went: headrace explain --admin {lane.admin_url}"
        )
        watch = Watch(console, admin_url=lane.admin_url, title="open house", total=None)
        with contextlib.suppress(asyncio.CancelledError):
            await watch.run()


def _inputs(
    args: argparse.Namespace, arrivals: Sequence[Arrival], *, with_prometheus: bool
) -> Inputs:
    digest = hashlib.sha256(json.dumps(arrivals).encode()).hexdigest()
    return Inputs(
        source="azure-like generator" if args.trace is None else args.trace.name,
        sha256=digest,
        requests=len(arrivals),
        requests_per_second=mean_requests_per_second(arrivals),
        seed=args.seed,
        telemetry="Prometheus and direct scrape" if with_prometheus else "direct scrape",
        no_cap_step_because=_no_cap_step_because(arrivals),
    )


def _no_cap_step_because(arrivals: Sequence[Arrival]) -> str | None:
    """The capper needs some seconds before the step and after it."""
    least_seconds = CapSchedule().least_seconds
    seconds = arrivals[-1].at_seconds if arrivals else 0.0
    if seconds >= least_seconds:
        return None
    return f"it takes {least_seconds:g} s of arrivals, these are {seconds:.1f} s"


def _announced(cap: CapSchedule | None, inputs: Inputs) -> str:
    """What will be done to the first arm, with all its periods."""
    if cap is None:
        return f"No cap step: {inputs.no_cap_step_because}."
    pace = ", ".join(f"{name} {value:g}" for name, value in PACING.items())
    floors = ", ".join(f"{name} {floor}" for name, floor in FLOORS.items())
    return (
        f"Cap step in the first arm, router and capper in one process: {cap.measure_seconds:g} s "
        f"without a cap, then one that the fleet uses to {cap.used_ratio:.0%}, and at "
        f"{cap.step_seconds:g} s {cap.cut_ratio:.0%} less; declared reaction time "
        f"{cap.reaction_seconds:g} s. The capper's pace, for a demo of a minute: "
        f"period_seconds {PERIOD_SECONDS:g}, {pace}, brake at {BRAKE['ratio']:g} of the cap after "
        f"{BRAKE['afterSeconds']:g} s; awake at least: {floors}"
    )
