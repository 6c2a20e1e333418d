"""`headrace serve`: the router as a process."""

import argparse
import asyncio
import json
import logging
import signal
from functools import partial
from pathlib import Path

import uvloop

from fleet.topology import Fleet
from headrace.capping_errors import CappingStartError
from headrace.config_errors import BadInputError
from headrace.fleet_feed import SourceFactory
from headrace.fleet_watch import FleetFileSource
from headrace.freed_memory import give_back
from headrace.garbage import spare
from headrace.log_format import configure_logging
from headrace.serve_file import ServeSection, load_serve
from headrace.service import Service
from headrace.worker_targets import MAX_WORKERS
from headrace.workers.process import WorkerStartError
from headrace.workers.service import WorkersService
from router.admin import AdminListenError
from router.extproc.listening import ListenError
from router.kv_event_settings import KvEventsUnavailableError
from router.metering.als import AccessLogListenError
from router.tracing import TracingUnavailableError
from telemetry.fleet_source import FleetSourceError

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config", type=Path, required=True, help="serve file (YAML)")
    parser.add_argument(
        "--ready-file",
        type=Path,
        help="written once the ports are open: JSON with the actual addresses",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        help="processes that answer Envoy, on a socket each; default: the serve file's, else 1",
    )
    parser.add_argument(
        "--no-capper", action="store_true", help="route only, whatever the serve file says"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then drain."""
    config, fleet = load_serve(args.config)
    if args.no_capper:
        config = config.model_copy(update={"capper": None})
    config = with_workers(config, args.workers, where="serve")
    configure_logging(config.observability.log_format)
    source = fleet_source(config, args.config)
    return uvloop.run(serve(config, fleet, source, args.ready_file))


def with_workers(config: ServeSection, given: str | None, *, where: str) -> ServeSection:
    """The section with as many workers as a flag says, when it was given.

    Raises:
        BadInputError: When that is no number of workers, or there are too few ports for them.
    """
    if given is None:
        return config
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= MAX_WORKERS):
        raise BadInputError(
            f"{where}: --workers must be a number from 1 to {MAX_WORKERS}, got {given!r}."
        )
    problem = config.ext_proc.ports_problem(int(given))
    if problem is not None:
        raise BadInputError(f"{where}: {problem}.")
    return config.model_copy(update={"workers": int(given)})


def fleet_source(config: ServeSection, path: Path) -> SourceFactory:
    """What keeps the fleet of a serve file at `path` current."""
    if config.kubernetes is not None:
        # Its client takes a second to import, which only those who use it should wait for.
        from telemetry.kubernetes.source import KubernetesFleetSource  # noqa: PLC0415 - see above

        return partial(KubernetesFleetSource, config.kubernetes.settings())
    assert config.fleet is not None, "checked by the section"
    return partial(FleetFileSource, path.parent / config.fleet)


async def serve(
    config: ServeSection, fleet: Fleet, source: SourceFactory, ready_file: Path | None
) -> int:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        BadInputError: When a port, a certificate or the source of the fleet is not to be had.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        service = make_service(config, fleet, source)
        if not await _started(service, stop):
            return 0
    except (
        ListenError,
        AdminListenError,
        AccessLogListenError,
        FleetSourceError,
        TracingUnavailableError,
        KvEventsUnavailableError,
        CappingStartError,
        WorkerStartError,
    ) as error:
        raise BadInputError(str(error)) from error
    spare(loop)
    give_back(loop)
    if ready_file is not None:
        tell = partial(_write_ready, ready_file, service)
        tell()
        service.on_change(tell)
    await stop.wait()
    _log.info("draining")
    await service.stop()
    return 0


def make_service(
    config: ServeSection, fleet: Fleet, source: SourceFactory | None
) -> Service | WorkersService:
    """The router, in this process or in as many as the section says."""
    if config.workers == 1:
        return Service(config, fleet, source)
    return WorkersService(config, fleet, source)


async def _started(service: Service | WorkersService, stop: asyncio.Event) -> bool:
    """Start, unless told to stop first: a cluster may take long to give the first view."""
    starting = asyncio.create_task(service.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        await starting
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await service.stop()
    return False


def _write_ready(path: Path, service: Service | WorkersService) -> None:
    """Write all at once, so that a reader never sees half of it."""
    unfinished = path.with_name(path.name + ".partial")
    unfinished.write_text(json.dumps(service.ready()), encoding="utf-8")
    unfinished.replace(path)
