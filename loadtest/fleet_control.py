"""A simulated fleet as its own process: `python -m loadtest.fleet_control`, and its port.

The control port, for the process that started the fleet:

    GET  /totals                 ground truth per replica and for the fleet
    GET  /addresses              as in the ready file
    POST /replicas/NAME/FAULT    kill | start | wedge | unwedge | metrics-ok | metrics-KIND
                                 (KIND: nan, negative, missing, sentinel; its GPU samples too)
"""

import argparse
import asyncio
import dataclasses
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from aiohttp import web

from loadtest.exposition import MetricsFault
from loadtest.fleet_spec import FleetSpec, SpecError, check_spec, load_spec
from loadtest.replica import ReplicaTotals
from loadtest.sim_fleet import FleetTotals, SimFleet

SCHEMA: Final = 1


def totals_as_json(totals: FleetTotals) -> dict[str, object]:
    """The report form of ground truth, units in the keys."""
    return {
        "schema": SCHEMA,
        "simulated_seconds": totals.simulated_seconds,
        "slipped_seconds": totals.slipped_seconds,
        "fleet": _replica_as_json(totals.fleet),
        "replicas": {name: _replica_as_json(part) for name, part in totals.replicas.items()},
    }


async def serve(spec: FleetSpec, *, ready_file: Path) -> None:
    """Run a fleet until SIGTERM or SIGINT.

    Args:
        spec: What to simulate.
        ready_file: Written, at once and whole, when everything listens.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    fleet = SimFleet(spec)
    await fleet.start()
    runner = web.AppRunner(_application(fleet), access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.TCPSite(runner, spec.control_host, spec.control_port, reuse_address=True).start()
        ready = {**_addresses(fleet), "control": f"{spec.control_host}:{runner.addresses[0][1]}"}
        await asyncio.to_thread(_write_whole, ready_file, msgspec.json.encode(ready))
        await stopping.wait()
    finally:
        await runner.cleanup()
        await fleet.stop()


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.fleet_control", description="Runs a simulated vLLM fleet."
    )
    parser.add_argument("--spec", type=Path, required=True, help="fleet description, JSON")
    parser.add_argument(
        "--ready-file", type=Path, required=True, help="written with all addresses when ready"
    )
    arguments = parser.parse_args()
    try:
        spec = load_spec(arguments.spec)
        check_spec(spec)
    except SpecError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    uvloop.run(serve(spec, ready_file=arguments.ready_file))
    return 0


def _application(fleet: SimFleet) -> web.Application:
    async def totals(_request: web.Request) -> web.Response:
        return _json(totals_as_json(fleet.totals()))

    async def addresses(_request: web.Request) -> web.Response:
        return _json(_addresses(fleet))

    async def fault(request: web.Request) -> web.Response:
        name, kind = request.match_info["name"], request.match_info["fault"]
        action = _fault_action(fleet, name, kind)
        if action is None:
            return _json({"error": f"no replica {name!r} or no fault {kind!r}"}, status=404)
        await action()
        return _json({"replica": name, "fault": kind})

    application = web.Application()
    application.router.add_get("/totals", totals)
    application.router.add_get("/addresses", addresses)
    application.router.add_post("/replicas/{name}/{fault}", fault)
    return application


def _fault_action(fleet: SimFleet, name: str, kind: str) -> Callable[[], Awaitable[None]] | None:
    """What a fault request does; None when it names nothing known."""
    spec = next((replica for replica in fleet.spec.replicas if replica.name == name), None)
    if spec is None:
        return None
    server = fleet.server(name)

    async def wedge() -> None:
        server.wedge()

    async def unwedge() -> None:
        server.unwedge()

    async def break_metrics(fault: MetricsFault | None) -> None:
        server.metrics_fault = fault
        faults = fleet.exporter(spec.node).faults
        if fault is None:
            faults.pop(spec.board_uuid, None)
        else:
            faults[spec.board_uuid] = fault

    actions: dict[str, Callable[[], Awaitable[None]]] = {
        "kill": server.kill,
        "start": server.start,
        "wedge": wedge,
        "unwedge": unwedge,
        "metrics-ok": partial(break_metrics, None),
        **{f"metrics-{fault.value}": partial(break_metrics, fault) for fault in MetricsFault},
    }
    return actions.get(kind)


def _addresses(fleet: SimFleet) -> dict[str, object]:
    return {"replicas": fleet.addresses, "exporters": fleet.exporter_addresses}


def _replica_as_json(totals: ReplicaTotals) -> dict[str, object]:
    return {"joules": totals.joules, **dataclasses.asdict(totals)}


def _json(payload: object, *, status: int = 200) -> web.Response:
    body = msgspec.json.encode(payload)
    return web.Response(body=body, status=status, content_type="application/json")


def _write_whole(path: Path, content: bytes) -> None:
    """A reader sees the whole file or none."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
