"""One soak: a router behind two Envoys, one per body mode, under a load of bounded rate."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headrace.bench import lanes
from headrace.bench.children import upstream
from headrace.bench.open_load import Connection, Counts, OpenLoad
from headrace.bench.router_process import RouterProcess, start_router
from headrace.bench.soak_figures import Ending, Held, Reading, document
from headrace.bench.soak_load import hold_streams, mixed_load
from headrace.child_process import end
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess
from headrace.processes import cpu_seconds, peak_bytes, resident_bytes

_STOP_SECONDS = 5.0
# What only the first streams cost is not what a stream costs.
_FIRST_STREAMS = 50
_DRAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        workers: Of the router; with several, memory and CPU are of all its processes together.
        requests_per_second: Over both Envoys together.
        held_streams: Idle ones, opened through each Envoy of a router of their own.
        settle_seconds: Before memory is read at rest.
        seed: Of arrivals and sizes.
        serve_settings: More sections of the router's configuration.
    """

    duration_seconds: float = 3600.0
    replicas: int = 1000
    workers: int = 1
    requests_per_second: float = 60.0
    reading_seconds: float = 10.0
    scrape_seconds: float = 4.0
    held_streams: int = 2000
    settle_seconds: float = 10.0
    seed: int = 0
    serve_settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs."""

    router: RouterProcess
    envoys: dict[EnvoyBodyMode, EnvoyProcess]

    @property
    def pids(self) -> set[int]:
        """The router's processes."""
        return {self.router.process.pid, *self.router.worker_pids}

    def resident_bytes(self) -> int:
        """What all of them hold now."""
        return sum(resident_bytes(pid) for pid in self.pids)


async def soak(plan: Plan, folder: Path, tell: Callable[[Reading, Counts], None]) -> dict[str, Any]:
    """The report as plain values; `tell` is called at each reading.

    Raises:
        ChildStartError: When a process does not come up.
    """
    lanes.raise_descriptor_limit()
    numbers = itertools.count()
    # Not in the process of the load: what that has freed would be taken again and not be seen.
    async with _running(plan, folder / "held") as stack:
        held = await _held(stack, plan, numbers)
    async with _running(plan, folder / "loaded") as stack:
        await asyncio.sleep(plan.settle_seconds)
        rest_bytes = stack.resident_bytes()
        loads = [
            mixed_load(
                envoy.listener_address(),
                requests_per_second=plan.requests_per_second / len(stack.envoys),
                numbers=numbers,
                seed=plan.seed + number,
            )
            for number, envoy in enumerate(stack.envoys.values())
        ]
        readings = await _load(stack, loads, plan, tell)
        ending = await _ending(stack, loads, plan)
    inputs = asdict(plan)
    return document(readings, ending, held, inputs=inputs, rest_bytes=rest_bytes)


@contextlib.asynccontextmanager
async def _running(plan: Plan, folder: Path) -> AsyncIterator[Stack]:
    folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(upstream("soak_upstream", plan.replicas))
        router = await start_router(
            folder,
            addresses,
            scrape_seconds=plan.scrape_seconds,
            workers=plan.workers,
            settings=plan.serve_settings,
        )
        stack.push_async_callback(end, router.process, grace_seconds=_STOP_SECONDS)
        envoys = {}
        for mode in EnvoyBodyMode:
            options = EnvoyOptions(log_path=folder / f"envoy-{mode.value}.log")
            bootstrap = lanes.bootstrap(addresses, router.targets, mode)
            envoys[mode] = await stack.enter_async_context(EnvoyProcess(bootstrap, options))
        yield Stack(router=router, envoys=envoys)


async def _load(
    stack: Stack, loads: list[OpenLoad], plan: Plan, tell: Callable[[Reading, Counts], None]
) -> list[Reading]:
    """Load, and look at the router every `reading_seconds`."""
    began_seconds = time.monotonic()
    running = asyncio.gather(*(load.run(plan.duration_seconds) for load in loads))
    readings = []
    for number in itertools.count(1):
        due_seconds = began_seconds + number * plan.reading_seconds
        if due_seconds > began_seconds + plan.duration_seconds:
            break
        await asyncio.sleep(max(due_seconds - time.monotonic(), 0.0))
        counts = _sum(loads)
        metrics = await stack.router.metrics()
        readings.append(
            Reading(
                after_seconds=time.monotonic() - began_seconds,
                resident_bytes=stack.resident_bytes(),
                cpu_seconds=sum(cpu_seconds(pid) for pid in stack.pids),
                streams_open=int(metrics["headrace_router_streams_open"]),
                requests=counts.sent,
                affinity_blocks=int(metrics["headrace_router_affinity_blocks"]),
            )
        )
        tell(readings[-1], counts)
    await running
    return readings


async def _ending(stack: Stack, loads: list[OpenLoad], plan: Plan) -> Ending:
    """Let every answer come, and look at what is left."""
    await asyncio.gather(*(load.drain(_DRAIN_SECONDS) for load in loads))
    for load in loads:
        load.close()
    await asyncio.sleep(plan.settle_seconds)
    metrics = await stack.router.metrics()
    counts = _sum(loads)
    return Ending(
        resident_bytes=stack.resident_bytes(),
        largest_worker_bytes=max(resident_bytes(pid) for pid in stack.router.worker_pids),
        peak_bytes=sum(peak_bytes(pid) for pid in stack.pids),
        streams_open=int(metrics["headrace_router_streams_open"]),
        requests_in_flight=int(metrics["headrace_router_requests_in_flight"]),
        went_around=sum([await lanes.passed_by(envoy) for envoy in stack.envoys.values()]),
        failed_requests=counts.failed + counts.open,
        hung_up_requests=counts.hung_up,
        answered_requests=counts.answered,
        affinity_blocks=int(metrics["headrace_router_affinity_blocks"]),
    )


async def _held(stack: Stack, plan: Plan, numbers: Iterator[int]) -> list[Held]:
    """Memory of idle streams, first of one mode, then of the other on top of it."""
    found = []
    connections: list[Connection] = []
    for mode, envoy in stack.envoys.items():
        connections += await hold_streams(envoy.listener_address(), _FIRST_STREAMS, numbers)
        await asyncio.sleep(plan.settle_seconds)
        before_bytes = stack.resident_bytes()
        connections += await hold_streams(envoy.listener_address(), plan.held_streams, numbers)
        await asyncio.sleep(plan.settle_seconds)
        found.append(
            Held(
                body_mode=mode.value,
                streams=plan.held_streams,
                before_bytes=before_bytes,
                after_bytes=stack.resident_bytes(),
            )
        )
    for connection in connections:
        connection.close()
    return found


def _sum(loads: list[OpenLoad]) -> Counts:
    counts = [load.counts for load in loads]
    return Counts(
        sent=sum(it.sent for it in counts),
        answered=sum(it.answered for it in counts),
        failed=sum(it.failed for it in counts),
        hung_up=sum(it.hung_up for it in counts),
    )
