"""What a run comes to beside latency and tokens: caps, carbon, cooling, lives, cache. Pure."""

from dataclasses import dataclass

from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.caps import CapAccount
from loadtest.simulator.state_book import StateBook

_SECONDS_PER_HOUR = 3600.0
_RESTING = frozenset({ReplicaState.ASLEEP, ReplicaState.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccounts:
    """Everything is exact and of the measured window; the router saw other figures.

    Attributes:
        fleet_cap: None: no cap was declared.
        rack_caps: By rack, of those that have a cap.
        grams_co2e: Of boards, declared hosts and cooling; None: no carbon series was declared.
        host_joules: Declared, of hosts that are on; None: nothing made them count.
        cooling_joules: None: no thermal model was declared.
        max_inlet_celsius: Likewise.
        redline_seconds: Time in which any inlet was above the redline; likewise.
        redline_kelvin_seconds: Integral of the hottest inlet over the redline; likewise.
        replica_hours: Of replicas that are neither asleep nor stopped.
        joules_by_state: Board energy by `ReplicaState`; adds up to that of the run.
        seconds_by_state: Replica-seconds likewise.
        sleeps: Orders that were followed in the whole run, as the next three.
        wakes: Likewise.
        starts: Likewise.
        stops: Likewise.
        clock_changes: Clock and power-limit settings that took effect.
        brakes: How often a power domain began to refuse requests.
        refused_actions: Orders of no effect, or that would have left a model without a replica.
        retried_requests: Sent on because the replica that was picked no longer served.
        prefix_query_tokens: Prompt tokens that were looked up in prefix caches.
        prefix_hit_tokens: The part found.
    """

    fleet_cap: CapAccount | None
    rack_caps: dict[str, CapAccount]
    grams_co2e: float | None
    host_joules: float | None
    cooling_joules: float | None
    max_inlet_celsius: float | None
    redline_seconds: float | None
    redline_kelvin_seconds: float | None
    replica_hours: float
    joules_by_state: dict[str, float]
    seconds_by_state: dict[str, float]
    sleeps: int
    wakes: int
    starts: int
    stops: int
    clock_changes: int
    brakes: int
    refused_actions: int
    retried_requests: int
    prefix_query_tokens: int
    prefix_hit_tokens: int

    @property
    def prefix_hit_ratio(self) -> float | None:
        """Found over looked up; None when nothing was."""
        return (
            self.prefix_hit_tokens / self.prefix_query_tokens if self.prefix_query_tokens else None
        )


def replica_hours(book: StateBook) -> float:
    """Hours in states that hold power for serving."""
    active = (seconds for state, seconds in book.seconds.items() if state not in _RESTING)
    return sum(active) / _SECONDS_PER_HOUR
