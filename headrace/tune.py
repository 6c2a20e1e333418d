"""`headrace tune`: try clocks, and hold the one of the most tokens per joule by a lease."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

from rich.console import Console

from fleet.topology import Backend, Fleet
from fleet.units import HERTZ_PER_MEGAHERTZ
from headrace.config_errors import BadInputError
from headrace.log_format import configure_logging
from headrace.tune_file import TuneSection, load_tune
from headrace.tune_report import sweep_document, sweep_table, write_report
from headrace.tune_run import Swept, TuneError, Tuner
from telemetry.system_clock import SystemClock

_log = logging.getLogger(__name__)
_FAILED = 1
_SHORTEST_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config", type=Path, required=True, help="tune file (YAML)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--once", action="store_true", help="sweep once, hold the best, end (the default)"
    )
    how.add_argument(
        "--every-seconds", type=float, metavar="N", help="sweep again and again, and hold between"
    )
    parser.add_argument("--report", type=Path, help="written after each sweep (JSON)")


def run(args: argparse.Namespace) -> int:
    """Sweep; whatever ends it early gives all clocks back."""
    every = args.every_seconds
    if every is not None and not every >= _SHORTEST_SECONDS:
        raise BadInputError(f"--every-seconds: must be at least {_SHORTEST_SECONDS:.0f}.")
    if args.report is not None and not args.report.parent.is_dir():
        raise BadInputError(f"--report: {args.report.parent} is not a folder.")
    section, fleet, backend = load_tune(args.config)
    configure_logging("text")
    try:
        return asyncio.run(_until_told(_tune(args, section, fleet, backend)))
    except TuneError as error:
        print(f"{args.config}: {error}", file=sys.stderr)
        return _FAILED


async def _until_told(work: Coroutine[None, None, int]) -> int:
    """Run until the end, or until SIGTERM or SIGINT: then it is cancelled, and clocks go back."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        print("interrupted: the clocks were given back", file=sys.stderr)
        return _FAILED


async def _tune(
    args: argparse.Namespace, section: TuneSection, fleet: Fleet, backend: Backend
) -> int:
    async with Tuner(section, fleet, backend, SystemClock()) as tuner:
        while True:
            swept = await tuner.sweep()
            _tell(args, section, backend, swept)
            best = None if swept.best is None else swept.best.hertz
            if args.every_seconds is None:
                await tuner.hold(best, seconds=section.hold_seconds)
                tuner.keep()
                return 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(args.every_seconds):
                    await _hold(tuner, best, section.lease_seconds)


async def _hold(tuner: Tuner, hertz: float | None, lease_seconds: float) -> None:
    """Renew for ever."""
    while True:
        await tuner.hold(hertz, seconds=lease_seconds)
        await asyncio.sleep(lease_seconds / 3.0)


def _tell(args: argparse.Namespace, section: TuneSection, backend: Backend, swept: Swept) -> None:
    Console().print(sweep_table(swept.points, swept.best))
    if swept.best is None:
        print(f"{backend.name}: no lock is better than full clock.")
    else:
        print(f"{backend.name}: {swept.best.hertz / HERTZ_PER_MEGAHERTZ:.0f} MHz is held.")
    if swept.model is not None:
        mega = swept.model.hertz / HERTZ_PER_MEGAHERTZ
        saved = swept.model.saved_ratio
        print(f"The model says {mega:.0f} MHz, {saved:.1%} fewer joules per token than full clock.")
    if args.report is None:
        return
    document = sweep_document(
        backend.name,
        swept.points,
        swept.best,
        swept.model,
        inputs={"config": args.config, "fleet": args.config.parent / section.fleet},
        at_seconds=SystemClock().epoch_seconds(),
    )
    try:
        write_report(args.report, document)
    except OSError as error:
        raise TuneError(f"--report: {args.report}: {error.strerror}.") from error
