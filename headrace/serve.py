"""`headrace serve`: the router as a process."""

import argparse
import asyncio
import json
import logging
import os
import signal
from pathlib import Path

import uvloop

from fleet.topology import Fleet
from headrace.config_errors import BadInputError
from headrace.serve_file import ServeSection, load_serve
from headrace.service import Service
from router.admin import AdminListenError
from router.extproc.server import ListenError

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config", type=Path, required=True, help="serve file (YAML)")
    parser.add_argument(
        "--ready-file",
        type=Path,
        help="written once the ports are open: JSON with the actual addresses",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then drain."""
    config, fleet = load_serve(args.config)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return uvloop.run(_serve(config, fleet, args.ready_file))


async def _serve(config: ServeSection, fleet: Fleet, ready_file: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = Service(config, fleet)
    try:
        await service.start()
    except (ListenError, AdminListenError) as error:
        raise BadInputError(str(error)) from error
    if ready_file is not None:
        _write_ready(ready_file, service)
    await stop.wait()
    _log.info("draining")
    await service.stop()
    return 0


def _write_ready(path: Path, service: Service) -> None:
    """Write all at once, so that a reader never sees half of it."""
    ready = {
        "pid": os.getpid(),
        "ext_proc": list(service.ext_proc.addresses()),
        "admin_port": service.admin.port,
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(ready), encoding="utf-8")
    partial.replace(path)
