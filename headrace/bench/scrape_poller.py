"""What a router does to know its fleet, and nothing else: a poller that publishes snapshots.

Run as a process of its own, so that the operating system counts its CPU time alone. It takes its
plan as a line of JSON on its standard input, and prints one line of JSON per second: how many
snapshots there were, and how much of the fleet is known.
"""

import asyncio
import sys

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from fleet.priors import prior_profile
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica
from headrace.bench.scrape_exposition import MODEL
from telemetry.poller import PolledSource, Poller
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier, PrometheusSettings
from telemetry.reading import Source
from telemetry.scrape import ScrapeSettings, ScrapeSource
from telemetry.system_clock import SystemClock

_PARAMETERS = 8e9
_TELL_SECONDS = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to poll.

    Attributes:
        replicas: Addresses.
        boards: UUID of each replica's board.
        exporters: Addresses of the exporters; asked directly, not where there is a Prometheus.
        prometheus_url: Asked instead of the replicas.
        interval_seconds: From the start of one round to that of the next.
        fresh_seconds: Up to this age a signal counts as known.
    """

    replicas: tuple[str, ...]
    boards: tuple[str, ...]
    exporters: tuple[str, ...] = ()
    prometheus_url: str | None = None
    interval_seconds: float = 1.0
    fresh_seconds: float = 5.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the poller says once a second.

    Attributes:
        version: Of the newest snapshot.
        known_ratio: Part of the replicas with a fresh count of running requests and fresh watts.
    """

    version: int
    known_ratio: float


async def poll(plan: Plan) -> None:
    """Poll for ever."""
    clock = SystemClock()
    freshness = FreshnessPolicy(fresh_seconds=plan.fresh_seconds)
    holder = SnapshotHolder(FleetSnapshot(fleet=_fleet(plan), published_seconds=0.0))
    polled = PolledSource(source=_source(plan, clock), interval_seconds=plan.interval_seconds)
    registry = CollectorRegistry()
    async with Poller([polled], holder, clock, registry=registry, freshness=freshness):
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            told = _told(holder.current, freshness, now_seconds=clock.monotonic_seconds())
            sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
            sys.stdout.flush()


def _told(snapshot: FleetSnapshot, freshness: FreshnessPolicy, *, now_seconds: float) -> Told:
    kinds = (SignalKind.RUNNING_REQUESTS, SignalKind.POWER_WATTS)
    known = [
        all(
            freshness.fresh_value(snapshot.signal(one.address, kind), now_seconds=now_seconds)
            is not None
            for kind in kinds
        )
        for one in snapshot.fleet.replicas()
    ]
    return Told(version=snapshot.version, known_ratio=sum(known) / len(known))


def _source(plan: Plan, clock: SystemClock) -> Source:
    if plan.prometheus_url is None:
        urls = tuple(f"http://{address}/metrics" for address in plan.exporters)
        return ScrapeSource(ScrapeSettings(exporter_urls=urls), clock)
    settings = PrometheusSettings(
        url=plan.prometheus_url, cache_seconds=0.8 * plan.interval_seconds
    )
    return PrometheusSource(PrometheusQuerier(settings, clock), clock)


def _fleet(plan: Plan) -> Fleet:
    replicas = tuple(
        Replica(address=address, backend="b", models=(MODEL,), gpu_uuids=(board,))
        for address, board in zip(plan.replicas, plan.boards, strict=True)
    )
    profile = prior_profile("H100", parameters=_PARAMETERS)
    backend = Backend(
        name="b", accelerator="H100", parameters=_PARAMETERS, profile=profile, replicas=replicas
    )
    return Fleet((backend,))


if __name__ == "__main__":
    uvloop.run(poll(msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)))
