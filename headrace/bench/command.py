"""`headrace bench WHAT`."""

import argparse
import importlib
import os
from pathlib import Path

# By name: each costs something to import that the others do not need.
_BENCHES = {
    "carbon": "headrace.bench.carbon",
    "decide": "headrace.bench.decide",
    "extproc": "headrace.bench.extproc",
    "peers": "headrace.bench.peers",
    "policies": "headrace.bench.policies",
    "scrape": "headrace.bench.scrape",
    "soak": "headrace.bench.soak",
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
        "of the others only where this is given; decide has none",
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
    parser.add_argument(
        "--install",
        action="store_true",
        help="peers: first install the rivals that are missing, each in .cache/peers/NAME",
    )
    _add_soak_arguments(parser)


def _add_soak_arguments(parser: argparse.ArgumentParser) -> None:
    soak = parser.add_argument_group("soak")
    soak.add_argument("--duration-seconds", type=_positive, metavar="S", help="of the load; 3600")
    soak.add_argument("--replicas", type=_count, metavar="N", help="of the fleet; 1000")
    soak.add_argument("--workers", type=_count, default=1, metavar="N", help="of the router; 1")
    soak.add_argument("--rate", type=_positive, metavar="R", help="requests per second; 60")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that was asked for."""
    code: int = importlib.import_module(_BENCHES[args.what]).run(args)
    return code


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
