"""What the boards' own meters say of an arm, by backend. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.demo.layout import backend_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTotals:
    """What the replicas of one backend did during an arm.

    Attributes:
        requests: Answers they gave.
        output_tokens: Tokens they generated.
        idle_watts: Their power with nothing running and all awake.
        dynamic_joules: Their energy above that.
        busy_seconds: Sum of their busy times.
    """

    requests: int = 0
    output_tokens: int = 0
    idle_watts: float = 0.0
    dynamic_joules: float = 0.0
    busy_seconds: float = 0.0


def backend_totals(
    before: Mapping[str, Any], after: Mapping[str, Any], *, all_awake: tuple[Mapping[str, Any], ...]
) -> dict[str, BackendTotals]:
    """What each backend did between two readings of the meters (loadtest.fleet_control).

    Args:
        before: First reading.
        after: Second reading.
        all_awake: Two readings between which no replica slept: for the idle watts.
    """
    start, end = all_awake
    awake_seconds = end["simulated_seconds"] - start["simulated_seconds"]
    totals: dict[str, BackendTotals] = {}
    for name, now in after["replicas"].items():
        was = before["replicas"][name]
        idle_joules = end["replicas"][name]["idle_joules"] - start["replicas"][name]["idle_joules"]
        backend = backend_of(name)
        sums = totals.get(backend, BackendTotals())
        totals[backend] = BackendTotals(
            requests=sums.requests + now["finished_requests"] - was["finished_requests"],
            output_tokens=sums.output_tokens + now["generation_tokens"] - was["generation_tokens"],
            idle_watts=sums.idle_watts + idle_joules / awake_seconds,
            dynamic_joules=sums.dynamic_joules + now["dynamic_joules"] - was["dynamic_joules"],
            busy_seconds=sums.busy_seconds + now["busy_seconds"] - was["busy_seconds"],
        )
    return totals


def joules_saved_by_sleep(
    before: Mapping[str, Any], after: Mapping[str, Any], totals: Mapping[str, BackendTotals]
) -> float:
    """Idle energy of boards that had all been awake, less what they took."""
    seconds = after["simulated_seconds"] - before["simulated_seconds"]
    taken_joules = after["fleet"]["idle_joules"] - before["fleet"]["idle_joules"]
    return float(sum(one.idle_watts for one in totals.values()) * seconds - taken_joules)
