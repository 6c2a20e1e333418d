"""One arm of the demo: a fresh fleet, a lane with one policy, the arrivals, and what came of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from headrace.demo.cap_account import cap_account
from headrace.demo.cap_plan import PERIOD_SECONDS, CapSchedule
from headrace.demo.cap_step import CapStep, PowerMeter
from headrace.demo.energy import energy_account
from headrace.demo.lane import Lane, LanePlan
from headrace.demo.report import Arm
from headrace.demo.served import served_requests
from headrace.demo.simulated_fleet import SimulatedFleet
from headrace.demo.totals import backend_totals, joules_saved_by_sleep
from headrace.demo.watch import Watch, pick_counts
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
        cap: When the cap step is; None: no capper runs.
        workers: Processes of the router.
    """

    policy: str
    folder: Path
    with_prometheus: bool
    listen_port: int = 0
    seed: int = 0
    cap: CapSchedule | None = None
    workers: int = 1

    @property
    def cap_path(self) -> Path:
        """The PowerCappingConfig that the capper follows."""
        return self.folder / "cap.yaml"

    @property
    def access_log(self) -> Path:
        """Envoy's."""
        return self.folder / "lane" / "access.log"


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
                    capper=_capper_section(plan),
                    workers=plan.workers,
                )
            )
        )
        yield fleet, lane


async def run_arm(plan: ArmPlan, arrivals: Sequence[Arrival], console: Console) -> Arm:
    """Replay the arrivals under one policy, showing the live table."""
    step = None if plan.cap is None else CapStep(plan.cap, plan.cap_path)
    async with running(plan) as (fleet, lane):
        await _warm_up(lane)
        meter = PowerMeter(fleet)
        before, metered_before = await fleet.totals(), await _metered(lane)
        outcomes = await _replay_watched(plan, lane, arrivals, console, meter, step)
        after, metered_after = await fleet.totals(), await _metered(lane)
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            counts = await pick_counts(session, lane.admin_url)
        names = {address: name for name, address in fleet.addresses.items()}
    # Envoy has ended, so its log is whole.
    served = served_requests(plan.access_log, names)
    summary = replace(summarise(outcomes), requests_by_replica=served)
    all_awake = (before, after if step is None else step.totals)
    energy = energy_account((metered_before, metered_after), (before, after))
    totals = backend_totals(before, after, all_awake=all_awake)
    return Arm(
        policy=plan.policy,
        summary=summary,
        backends=totals,
        window_seconds=summary.duration_seconds or 0.0,
        pick_reasons=counts.by_reason,
        slipped_seconds=after["slipped_seconds"] - before["slipped_seconds"],
        energy=replace(energy, some_slept=step is not None),
        windows=tuple(meter.windows),
        cap=None if step is None else cap_account(step.seen(), step.schedule, outcomes),
        saved_by_sleep_joules=joules_saved_by_sleep(before, after, totals),
    )


def _capper_section(plan: ArmPlan) -> dict[str, Any] | None:
    """Router and capper in one process, on one snapshot; sleeping is vLLM's own."""
    if plan.cap is None:
        return None
    return {"configs": [str(plan.cap_path)], "period_seconds": PERIOD_SECONDS, "sleep": "http"}


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
    plan: ArmPlan,
    lane: Lane,
    arrivals: Sequence[Arrival],
    console: Console,
    meter: PowerMeter,
    step: CapStep | None,
) -> list[RequestOutcome]:
    watch = Watch(
        console,
        admin_url=lane.admin_url,
        title=f"policy {plan.policy}",
        total=len(arrivals),
        capping=None if step is None else step.log,
    )

    def note(outcome: RequestOutcome) -> None:
        watch.done += 1
        watch.failed += outcome.failure is not None

    work = [_shown(watch), meter.run()]
    if step is not None:
        work += [step.run(meter), step.look(meter, lane.admin_url)]
    meter.begin()
    async with _beside(*work):
        return await replay(
            arrivals,
            base_url=lane.base_url,
            options=ReplayOptions(seed=plan.seed, max_tokens=MAX_TOKENS),
            on_outcome=note,
        )


async def _shown(watch: Watch) -> None:
    """A table that cannot be drawn any more does not end a run."""
    with contextlib.suppress(aiohttp.ClientError):
        await watch.run()


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this meanwhile; what failed of it is raised when the context ends."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
