"""The figures and verdicts of `headrace bench soak`. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
WARM_UP_SECONDS = 600.0
GROWTH_LIMIT_BYTES = 4 * 2**20
"""By which memory may have grown over the judged part, along the fitted line."""
STREAM_LIMIT_BYTES = 30_000
PROCESS_LIMIT_BYTES = 120_000_000
"""At a thousand replicas with no stream open; issue 5."""
_HOUR_SECONDS = 3600.0
_MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at the router while the load runs.

    Attributes:
        after_seconds: Since the load began.
        cpu_seconds: Of the process since it was started.
        streams_open: As the router's gauge tells.
        requests: Begun so far.
        affinity_blocks: Of prompts, that it remembers; while they grow, memory does.
    """

    after_seconds: float
    resident_bytes: int
    cpu_seconds: float
    streams_open: int
    requests: int
    affinity_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Memory with idle streams held open, beside that before."""

    body_mode: str
    streams: int
    before_bytes: int
    after_bytes: int

    @property
    def bytes_per_stream(self) -> float:
        """What one more cost."""
        return (self.after_bytes - self.before_bytes) / self.streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is left when the load has ended and every answer has come.

    Attributes:
        resident_bytes: With no stream open.
        largest_worker_bytes: Of it, what the worker holds that holds most.
        went_around: Requests that Envoy let pass because the router did not answer.
        affinity_blocks: Of prompts, that the router remembers; they are part of its memory.
    """

    resident_bytes: int
    largest_worker_bytes: int
    peak_bytes: int
    streams_open: int
    requests_in_flight: int
    went_around: int
    failed_requests: int
    hung_up_requests: int
    answered_requests: int
    affinity_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One verdict: `measured` is to be at most `limit`."""

    what: str
    measured: float
    limit: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it passed."""
        return self.measured <= self.limit


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through `points` by least squares; 0 with fewer than two different x."""
    if not points:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def warm_up_seconds(duration_seconds: float) -> float:
    """The part at the beginning that is not judged: ten minutes, or a third of a short soak."""
    return min(WARM_UP_SECONDS, duration_seconds / 3)


def document(
    readings: Sequence[Reading],
    ending: Ending,
    held: Sequence[Held],
    *,
    inputs: dict[str, Any],
    rest_bytes: int,
) -> dict[str, Any]:
    """The report as JSON.

    Args:
        readings: While the load ran; at least one.
        ending: After it.
        held: Of both modes.
        inputs: What was asked for; `duration_seconds` is one of it.
        rest_bytes: Memory before the first request.
    """
    warm_up = warm_up_seconds(inputs["duration_seconds"])
    judged = [it for it in readings if it.after_seconds >= warm_up] or list(readings[-1:])
    span_seconds = judged[-1].after_seconds - judged[0].after_seconds
    requests = judged[-1].requests - judged[0].requests
    per_second = slope([(it.after_seconds, it.resident_bytes) for it in judged])
    used_seconds = judged[-1].cpu_seconds - judged[0].cpu_seconds
    figures = {
        "judged_seconds": span_seconds,
        "requests_per_second": _ratio(requests, span_seconds),
        "growth_bytes": per_second * span_seconds,
        "growth_bytes_per_hour": per_second * _HOUR_SECONDS,
        "growth_bytes_per_million_requests": _ratio(per_second * span_seconds, requests) * _MILLION,
        "cpu_cores": _ratio(used_seconds, span_seconds),
        "cpu_seconds_per_request": _ratio(used_seconds, requests),
        "affinity_blocks_growth": judged[-1].affinity_blocks - judged[0].affinity_blocks,
        "streams_open_mean": _mean(it.streams_open for it in judged),
        "streams_open_max": max(it.streams_open for it in judged),
        "rest_bytes": rest_bytes,
        **asdict(ending),
    }
    checks = _checks(figures, held)
    return {
        "schema": SCHEMA,
        "inputs": {**inputs, "warm_up_seconds": warm_up},
        "figures": figures,
        "held": [{**asdict(it), "bytes_per_stream": it.bytes_per_stream} for it in held],
        "checks": [{**asdict(it), "is_met": it.is_met} for it in checks],
        "readings": [asdict(it) for it in readings],
    }


def _checks(figures: dict[str, Any], held: Sequence[Held]) -> list[Check]:
    return [
        Check(
            what="growth of memory over the judged part",
            measured=figures["growth_bytes"],
            limit=GROWTH_LIMIT_BYTES,
            unit="bytes",
        ),
        *(
            Check(
                what=f"memory of an open idle stream, {it.body_mode}",
                measured=it.bytes_per_stream,
                limit=STREAM_LIMIT_BYTES,
                unit="bytes",
            )
            for it in held
        ),
        Check(
            what="memory of a worker after the load, no stream open",
            measured=figures["largest_worker_bytes"],
            limit=PROCESS_LIMIT_BYTES,
            unit="bytes",
        ),
        *(
            Check(what=what, measured=figures[key], limit=0, unit=unit)
            for what, key, unit in (
                ("streams open after the load", "streams_open", "streams"),
                ("requests in the ledger after the load", "requests_in_flight", "requests"),
                ("requests that passed by the router", "went_around", "requests"),
                ("failed requests", "failed_requests", "requests"),
            )
        ),
    ]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)
