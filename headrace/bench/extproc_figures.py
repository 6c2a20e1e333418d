"""The figures of `headrace bench extproc`: medians over rounds, and ratios to the floor. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
BARE, FLOOR, ROUTER = "envoy", "floor", "router"
ARMS = (BARE, FLOOR, ROUTER)
WHAT = {
    BARE: "Envoy without ext_proc",
    FLOOR: "Envoy and a bare grpc.aio server that parses nothing",
    ROUTER: "Envoy and the router, one worker",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the benchmark."""

    body_mode: str
    replicas: int
    body_bytes: int
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One arm in one round of one cell.

    Attributes:
        requests_per_second: Answered with 200.
        failed_requests: Answered otherwise, or not at all.
        server_cpu_seconds: Of the ext_proc server's process per request; None without one.
        latency_p50_seconds: As the client sees it.
        latency_p99_seconds: Likewise.
        load_cpu_ratio: CPU use of the load generator; near 1 it is what is measured.
    """

    requests_per_second: float
    failed_requests: int
    server_cpu_seconds: float | None
    latency_p50_seconds: float
    latency_p99_seconds: float
    load_cpu_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One arm in one cell, medians over rounds.

    Attributes:
        added_p50_seconds: Median over rounds of p50 less that of Envoy alone in the same round.
        added_p99_seconds: Likewise.
        requests_ratio: Requests/s over the floor's.
        server_cpu_ratio: CPU per request over the floor's; None without a server.
    """

    arm: str
    requests_per_second: float
    failed_requests: int
    server_cpu_seconds: float | None
    latency_p50_seconds: float
    latency_p99_seconds: float
    added_p50_seconds: float
    added_p99_seconds: float
    requests_ratio: float
    server_cpu_ratio: float | None
    load_cpu_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The most memory that an ext_proc server held over all cells of one fleet and mode."""

    arm: str
    body_mode: str
    replicas: int
    peak_bytes: int


def figures(rounds: Sequence[dict[str, Sample]]) -> tuple[Figures, ...]:
    """Medians over the rounds of one cell; every round has a sample of every arm."""
    return tuple(_of(arm, rounds) for arm in ARMS)


def _of(arm: str, rounds: Sequence[dict[str, Sample]]) -> Figures:
    ours = [it[arm] for it in rounds]
    rate = _median(it.requests_per_second for it in ours)
    cpu = _cpu(arm, rounds)
    floor_cpu = _cpu(FLOOR, rounds)
    floor_rate = _median(it[FLOOR].requests_per_second for it in rounds)
    return Figures(
        arm=arm,
        requests_per_second=rate,
        failed_requests=sum(it.failed_requests for it in ours),
        server_cpu_seconds=cpu,
        latency_p50_seconds=_median(it.latency_p50_seconds for it in ours),
        latency_p99_seconds=_median(it.latency_p99_seconds for it in ours),
        added_p50_seconds=_median(
            it[arm].latency_p50_seconds - it[BARE].latency_p50_seconds for it in rounds
        ),
        added_p99_seconds=_median(
            it[arm].latency_p99_seconds - it[BARE].latency_p99_seconds for it in rounds
        ),
        requests_ratio=rate / floor_rate if floor_rate else 0.0,
        server_cpu_ratio=cpu / floor_cpu if cpu is not None and floor_cpu else None,
        load_cpu_ratio=_median(it.load_cpu_ratio for it in ours),
    )


def _cpu(arm: str, rounds: Sequence[dict[str, Sample]]) -> float | None:
    known = [cpu for it in rounds if (cpu := it[arm].server_cpu_seconds) is not None]
    return statistics.median(known) if known else None


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def document(
    found: Sequence[tuple[Cell, tuple[Figures, ...]]],
    memory: Sequence[Memory],
    *,
    rounds: int,
    window_seconds: float,
    machine: dict[str, Any],
) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "schema": SCHEMA,
        "machine": machine,
        "rounds": rounds,
        "window_seconds": window_seconds,
        "arms": WHAT,
        "cells": [
            {**asdict(cell), "figures": [asdict(one) for one in ones]} for cell, ones in found
        ],
        "memory": [asdict(one) for one in memory],
    }
