"""The figures of `headrace bench extproc`: medians over rounds, and ratios to the floor. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

SCHEMA = 2
BARE, FLOOR, TUNED, ROUTER = "envoy", "floor", "floor-tuned", "router"
WORKERS = {"router-2": 2, "router-4": 4}
"""Arms of a router with several workers, and how many."""
WHAT = {
    BARE: "Envoy without ext_proc",
    FLOOR: "Envoy and a bare grpc.aio server that parses nothing",
    TUNED: "the floor with gRPC's threads scheduled as the router's are",
    ROUTER: "Envoy and the router, one worker",
    **{name: f"Envoy and the router, {count} workers" for name, count in WORKERS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the benchmark.

    Attributes:
        connections: Of a closed loop; None where requests come at a constant rate, half of what
            the router reached in the closed loop with most connections.
    """

    body_mode: str
    replicas: int
    body_bytes: int
    connections: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One arm in one round of one cell.

    Attributes:
        requests_per_second: Answered with 200.
        failed_requests: Answered otherwise, or not at all.
        server_cpu_seconds: Per request, of the ext_proc server's process or all workers together;
            None without one.
        parent_cpu_seconds: Per request, of the process above the workers; None where it is none.
        busiest_worker_ratio: The most that one worker used of what all used.
        latency_p50_seconds: As the client sees it.
        latency_p99_seconds: Likewise.
        envoy_p50_seconds: How long Envoy waited for the ext_proc server; None without one.
        envoy_p99_seconds: Likewise.
        messages_to_server: Per request, on its ext_proc stream; None without one.
        messages_from_server: Likewise.
        load_cpu_ratio: CPU use of the load generator; near 1 it is what is measured.
        late_p99_seconds: How late requests of a constant rate began; None in a closed loop.
    """

    requests_per_second: float
    failed_requests: int
    server_cpu_seconds: float | None
    parent_cpu_seconds: float | None
    busiest_worker_ratio: float | None
    latency_p50_seconds: float
    latency_p99_seconds: float
    envoy_p50_seconds: float | None
    envoy_p99_seconds: float | None
    messages_to_server: float | None
    messages_from_server: float | None
    load_cpu_ratio: float
    late_p99_seconds: float | None


_MEDIANS = tuple(it.name for it in fields(Sample) if it.name != "failed_requests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an ext_proc server held and used over all cells of one fleet and mode.

    Attributes:
        rest_bytes: Before the first cell, summed over workers.
        rest_worker_bytes: Of the one that held most then.
        peak_bytes: At most, likewise.
        peak_worker_bytes: Of the one that held most.
        parent_peak_bytes: Of the process above the workers; None where there is none.
        idle_cpu_cores: With no request, telemetry included; of workers and parent.
    """

    arm: str
    body_mode: str
    replicas: int
    rest_bytes: int
    rest_worker_bytes: int
    peak_bytes: int
    peak_worker_bytes: int
    parent_peak_bytes: int | None
    idle_cpu_cores: float


def figures(rounds: Sequence[Mapping[str, Sample]]) -> list[dict[str, Any]]:
    """Of each arm of one cell, which all rounds have: medians over the rounds.

    Added are `failed_requests` (their sum), `added_p50_seconds` and `added_p99_seconds` (medians of
    the latency less that of Envoy alone in the same round), `requests_ratio` and
    `server_cpu_ratio` (of the floor's; None without a server), and `tuned_cpu_ratio` (of the tuned
    floor's; None without that arm).
    """
    medians = {arm: _medians(arm, rounds) for arm in rounds[0]}
    return [_of(arm, rounds, medians) for arm in medians]


def _of(
    arm: str,
    rounds: Sequence[Mapping[str, Sample]],
    every: Mapping[str, Mapping[str, float | None]],
) -> dict[str, Any]:
    medians, floor = every[arm], every[FLOOR]
    tuned_cpu = every[TUNED]["server_cpu_seconds"] if TUNED in every else None
    return {
        "arm": arm,
        "failed_requests": sum(it[arm].failed_requests for it in rounds),
        **medians,
        "added_p50_seconds": statistics.median(
            it[arm].latency_p50_seconds - it[BARE].latency_p50_seconds for it in rounds
        ),
        "added_p99_seconds": statistics.median(
            it[arm].latency_p99_seconds - it[BARE].latency_p99_seconds for it in rounds
        ),
        "requests_ratio": ratio(medians["requests_per_second"], floor["requests_per_second"]),
        "server_cpu_ratio": ratio(medians["server_cpu_seconds"], floor["server_cpu_seconds"]),
        "tuned_cpu_ratio": ratio(medians["server_cpu_seconds"], tuned_cpu),
    }


def _medians(arm: str, rounds: Sequence[Mapping[str, Sample]]) -> dict[str, float | None]:
    return {name: median(getattr(it[arm], name) for it in rounds) for name in _MEDIANS}


def median(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(value: float | None, floor: float | None) -> float | None:
    """None where either is not known, or there is nothing to compare with."""
    return value / floor if value is not None and floor else None


def document(
    found: Sequence[tuple[Cell, list[dict[str, Any]]]],
    usage: Sequence[Usage],
    *,
    inputs: Mapping[str, Any],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as JSON, without the verdicts of `extproc_reach`."""
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "inputs": dict(inputs),
        "arms": WHAT,
        "cells": [{**asdict(cell), "figures": ones} for cell, ones in found],
        "usage": [asdict(one) for one in usage],
    }
