"""The figures of `headrace bench peers`: medians over rounds. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.bench.extproc_figures import median, ratio

SCHEMA = 1
DIRECT, ENVOY, HEADRACE = "direct", "envoy", "headrace"
OWN = (DIRECT, ENVOY, HEADRACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the benchmark."""

    replicas: int
    body_bytes: int
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One arm in one round of one cell.

    Attributes:
        requests_per_second: Answered with 200.
        failed_requests: Answered otherwise, or not at all.
        cpu_seconds: Of all processes of the arm, per answered request; None of the upstream alone
            and where nothing was answered.
        latency_p50_seconds: As the client sees it; None where nothing was answered.
        latency_p99_seconds: Likewise.
        load_cpu_ratio: CPU use of the load generator; near 1 it is what is measured.
    """

    requests_per_second: float
    failed_requests: int
    cpu_seconds: float | None
    latency_p50_seconds: float | None
    latency_p99_seconds: float | None
    load_cpu_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One arm in one cell, medians over the rounds in which it served.

    Attributes:
        requests_per_core_second: One over `cpu_seconds`.
        cpu_ratio: CPU per request over that of Envoy with Headrace.
        added_p50_seconds: Median over rounds of p50 less that of the upstream in the same round.
        added_p99_seconds: Likewise.
    """

    arm: str
    requests_per_second: float
    requests_per_core_second: float | None
    failed_requests: int
    cpu_seconds: float | None
    cpu_ratio: float | None
    latency_p50_seconds: float | None
    latency_p99_seconds: float | None
    added_p50_seconds: float | None
    added_p99_seconds: float | None
    load_cpu_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An arm, for the reader.

    Attributes:
        version: Of the package; None of those without one.
        absent: Why it was not measured, or not to the end; None when it was.
    """

    name: str
    what: str
    version: str | None
    policy: str
    body: str
    absent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The most memory that an arm held over all cells of one fleet."""

    arm: str
    replicas: int
    peak_bytes: int


def figures(rounds: Sequence[Mapping[str, Sample]], arms: Sequence[str]) -> tuple[Figures, ...]:
    """Medians over the rounds of one cell, of the arms that have a sample in any."""
    return tuple(_of(arm, rounds) for arm in arms if any(arm in it for it in rounds))


def _of(arm: str, rounds: Sequence[Mapping[str, Sample]]) -> Figures:
    ours = [it[arm] for it in rounds if arm in it]
    pairs = [(it[arm], it[DIRECT]) for it in rounds if arm in it]
    cpu = _cpu(arm, rounds)
    headrace_cpu = _cpu(HEADRACE, rounds)
    return Figures(
        arm=arm,
        requests_per_second=statistics.median(it.requests_per_second for it in ours),
        requests_per_core_second=1 / cpu if cpu else None,
        failed_requests=sum(it.failed_requests for it in ours),
        cpu_seconds=cpu,
        cpu_ratio=ratio(cpu, headrace_cpu),
        latency_p50_seconds=median(it.latency_p50_seconds for it in ours),
        latency_p99_seconds=median(it.latency_p99_seconds for it in ours),
        added_p50_seconds=median(
            _less(it.latency_p50_seconds, direct.latency_p50_seconds) for it, direct in pairs
        ),
        added_p99_seconds=median(
            _less(it.latency_p99_seconds, direct.latency_p99_seconds) for it, direct in pairs
        ),
        load_cpu_ratio=statistics.median(it.load_cpu_ratio for it in ours),
    )


def _cpu(arm: str, rounds: Sequence[Mapping[str, Sample]]) -> float | None:
    return median(it[arm].cpu_seconds for it in rounds if arm in it)


def _less(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def document(
    found: Sequence[tuple[Cell, tuple[Figures, ...]]],
    memory: Sequence[Memory],
    arms: Sequence[Described],
    *,
    rounds: int,
    window_seconds: float,
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "rounds": rounds,
        "window_seconds": window_seconds,
        "arms": [asdict(it) for it in arms],
        "cells": [
            {**asdict(cell), "figures": [asdict(one) for one in ones]} for cell, ones in found
        ],
        "memory": [asdict(it) for it in memory],
    }
