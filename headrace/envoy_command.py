"""`headrace envoy-config`: Envoy's bootstrap for a fleet file."""

import argparse
import sys
from pathlib import Path

from fleet.topology import Fleet
from headrace.config_errors import BadInputError
from headrace.envoy_plan import EnvoyBodyMode, EnvoyEndpoint, EnvoyPlan, EnvoyPlanError
from headrace.fleet_file import load_fleet
from headrace.worker_targets import MAX_WORKERS, targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("fleet", type=Path, metavar="FLEET", help="fleet file (YAML)")
    parser.add_argument(
        "--ext-proc",
        action="append",
        metavar="TARGET",
        help="router to ask, unix:/path or host:port; repeat for workers "
        "(default unix:/run/headrace/ext_proc.sock)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="of `headrace serve --workers N`: each router named above stands for N addresses",
    )
    parser.add_argument(
        "--ext-proc-tls", action="store_true", help="TLS to the routers, whoever signed for them"
    )
    parser.add_argument(
        "--body-mode",
        type=EnvoyBodyMode,
        choices=tuple(EnvoyBodyMode),
        default=EnvoyBodyMode.BUFFERED,
        help="full-duplex streams both ways through the router, as inference gateways do",
    )
    parser.add_argument("--listen-host", default="0.0.0.0")  # noqa: S104 - Envoy is the public side
    parser.add_argument("--listen-port", type=int, default=8080)
    parser.add_argument("--admin-port", type=int, default=9901, help="on loopback only")
    parser.add_argument("--access-log", metavar="PATH", help="default: standard output")
    parser.add_argument(
        "--access-log-target",
        metavar="HOST:PORT",
        help="the router's access-log receiver; it then sees response headers too",
    )


def endpoints(fleet: Fleet) -> tuple[EnvoyEndpoint, ...]:
    """A fleet's replicas as Envoy sees them."""
    return tuple(
        EnvoyEndpoint(address=replica.address, models=replica.models)
        for replica in fleet.replicas()
    )


def _targets(args: argparse.Namespace) -> tuple[str, ...]:
    """Every worker of every router.

    Raises:
        BadInputError: When there cannot be that many.
    """
    if not 1 <= args.workers <= MAX_WORKERS:
        raise BadInputError(
            f"envoy-config: --workers must be a number from 1 to {MAX_WORKERS}, got {args.workers}."
        )
    routers = args.ext_proc or ("unix:/run/headrace/ext_proc.sock",)
    return tuple(one for router in routers for one in targets(router, args.workers))


def run(args: argparse.Namespace) -> int:
    """Print the bootstrap as YAML."""
    # Half a second of message types that no other command needs.
    from headrace.envoy_config import render_yaml  # noqa: PLC0415

    fleet = load_fleet(args.fleet)
    try:
        plan = EnvoyPlan(
            endpoints=endpoints(fleet),
            ext_proc_targets=_targets(args),
            ext_proc_tls=args.ext_proc_tls,
            body_mode=args.body_mode,
            listen_host=args.listen_host,
            listen_port=args.listen_port,
            admin_port=args.admin_port,
            access_log_path=args.access_log,
            access_log_target=args.access_log_target,
        )
    except EnvoyPlanError as error:
        raise BadInputError(f"envoy-config: {error}.") from error
    sys.stdout.write(render_yaml(plan))
    return 0
