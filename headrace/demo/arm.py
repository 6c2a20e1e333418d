"""One arm of the demo: a fresh fleet, a lane with one policy, the arrivals, and what came of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from headrace.demo.energy import energy_account
from headrace.demo.lane import Lane, LanePlan
from headrace.demo.report import Arm, BackendTotals
from headrace.demo.simulated_fleet import SimulatedFleet, backend_of
from headrace.demo.watch import PickCounts, Watch, pick_counts
from headrace.prometheus_process import PrometheusProcess
from loadtest.arrivals import Arrival
from loadtest.client import ReplayOptions, replay
from loadtest.outcome import RequestOutcome, summarise

# Every request allows this many tokens; the lengths of the trace are known to the simulated
# engines alone, as in life.
MAX_TOKENS = 2048
# How long telemetry may take to know every board's watts; a Prometheus begins to scrape a target
# some seconds after it has started.
_WARM_UP_SECONDS = 10.0
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """What an arm runs on.

    Attributes:
        policy: The router's.
        folder: Private to the arm.
        with_prometheus: Telemetry through a Prometheus; else scraped directly.
        listen_port: Of Envoy; 0 for any free one.
        seed: Of the prompts' contents.
    """

    policy: str
    folder: Path
    with_prometheus: bool
    listen_port: int = 0
    seed: int = 0


@contextlib.asynccontextmanager
async def running(plan: ArmPlan) -> AsyncIterator[tuple[SimulatedFleet, Lane]]:
    """Start fleet, Prometheus, router and Envoy; end them in reverse."""
    async with contextlib.AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(SimulatedFleet(plan.folder / "fleet"))
        prometheus_url = None
        if plan.with_prometheus:
            jobs = {"vllm": list(fleet.addresses.values()), "dcgm": fleet.exporter_addresses}
            prometheus = await stack.enter_async_context(
                PrometheusProcess(jobs, folder=plan.folder / "prometheus")
            )
            prometheus_url = prometheus.url
        exporters = tuple(f"http://{address}/metrics" for address in fleet.exporter_addresses)
        lane = await stack.enter_async_context(
            Lane(
                LanePlan(
                    fleet_path=fleet.fleet_path,
                    folder=plan.folder / "lane",
                    policy=plan.policy,
                    prometheus_url=prometheus_url,
                    exporter_urls=() if plan.with_prometheus else exporters,
                    listen_port=plan.listen_port,
                )
            )
        )
        yield fleet, lane


async def run_arm(plan: ArmPlan, arrivals: Sequence[Arrival], console: Console) -> Arm:
    """Replay the arrivals under one policy, showing the live table."""
    async with running(plan) as (fleet, lane):
        await _warm_up(lane)
        before, metered_before = await fleet.totals(), await _metered(lane)
        outcomes = await _replay_watched(plan, lane, arrivals, console)
        after, metered_after = await fleet.totals(), await _metered(lane)
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            counts = await pick_counts(session, lane.admin_url)
    energy = energy_account((metered_before, metered_after), (before, after))
    return replace(_arm(plan.policy, outcomes, before, after, counts), energy=energy)


async def _metered(lane: Lane) -> dict[str, Any]:
    """What the router has metered so far."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(f"{lane.admin_url}/debug/energy") as answer,
    ):
        metered: dict[str, Any] = await answer.json()
        return metered


async def _warm_up(lane: Lane) -> None:
    """Wait until the router knows the watts of all replicas; start without them at the deadline."""
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(_WARM_UP_SECONDS),
            aiohttp.ClientSession(raise_for_status=True) as session,
        ):
            while not await _knows_watts(session, lane.admin_url):  # noqa: ASYNC110 - other process
                await asyncio.sleep(_POLL_SECONDS)


async def _knows_watts(session: aiohttp.ClientSession, admin_url: str) -> bool:
    async with session.get(f"{admin_url}/debug/snapshot") as answer:
        snapshot = await answer.json()
    return all("power_watts" in replica["signals"] for replica in snapshot["replicas"])


async def _replay_watched(
    plan: ArmPlan, lane: Lane, arrivals: Sequence[Arrival], console: Console
) -> list[RequestOutcome]:
    watch = Watch(
        console, admin_url=lane.admin_url, title=f"policy {plan.policy}", total=len(arrivals)
    )

    def note(outcome: RequestOutcome) -> None:
        watch.done += 1
        watch.failed += outcome.failure is not None

    watching = asyncio.create_task(watch.run())
    try:
        return await replay(
            arrivals,
            base_url=lane.base_url,
            options=ReplayOptions(seed=plan.seed, max_tokens=MAX_TOKENS),
            on_outcome=note,
        )
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
            await watching


def _arm(
    policy: str,
    outcomes: Sequence[RequestOutcome],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    counts: PickCounts,
) -> Arm:
    summary = summarise(outcomes)
    elapsed_seconds = after["simulated_seconds"] - before["simulated_seconds"]
    totals: dict[str, BackendTotals] = {}
    for name, now in after["replicas"].items():
        was = before["replicas"][name]
        backend = backend_of(name)
        sums = totals.get(backend, BackendTotals())
        totals[backend] = BackendTotals(
            requests=sums.requests + now["finished_requests"] - was["finished_requests"],
            output_tokens=sums.output_tokens + now["generation_tokens"] - was["generation_tokens"],
            idle_watts=sums.idle_watts
            + (now["idle_joules"] - was["idle_joules"]) / elapsed_seconds,
            dynamic_joules=sums.dynamic_joules + now["dynamic_joules"] - was["dynamic_joules"],
            busy_seconds=sums.busy_seconds + now["busy_seconds"] - was["busy_seconds"],
        )
    return Arm(
        policy=policy,
        summary=summary,
        backends=totals,
        window_seconds=summary.duration_seconds or 0.0,
        pick_reasons=counts.by_reason,
        slipped_seconds=after["slipped_seconds"] - before["slipped_seconds"],
    )
