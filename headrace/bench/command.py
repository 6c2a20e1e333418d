"""`headrace bench WHAT`."""

import argparse
import os
from pathlib import Path

from headrace.bench import carbon, decide, policies


def _extproc(args: argparse.Namespace) -> int:
    # Half a second of message types that the others do not need.
    from headrace.bench import extproc  # noqa: PLC0415

    return extproc.run(args)


_BENCHES = {
    "carbon": carbon.run,
    "decide": decide.run,
    "extproc": _extproc,
    "policies": policies.run,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("what", metavar="WHAT", choices=sorted(_BENCHES), help="which benchmark")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page of documentation; docs/benchmarks/policies.md, none with --quick; "
        "of extproc only where this is given",
    )
    parser.add_argument("--seeds", default="0-4", metavar="LIST", help='such as "0-4" or "0,3"')
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes"
    )
    parser.add_argument(
        *("--quick", "--short"),
        dest="quick",
        action="store_true",
        help="one seed, short windows, the main arms only; 1-2 minutes",
    )


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that was asked for."""
    return _BENCHES[args.what](args)
