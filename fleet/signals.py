"""What is measured of a replica, and how old a measurement may be before it stops counting."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple


class SignalKind(StrEnum):
    """One measured quantity of one replica; the unit is the end of the name."""

    HEALTHY_RATIO = "healthy_ratio"  # 1 answers, 0 refuses
    RUNNING_REQUESTS = "running_requests"
    WAITING_REQUESTS = "waiting_requests"
    KV_USAGE_RATIO = "kv_usage_ratio"
    KV_CAPACITY_TOKENS = "kv_capacity_tokens"
    POWER_WATTS = "power_watts"
    SM_CLOCK_HERTZ = "sm_clock_hertz"
    TEMPERATURE_CELSIUS = "temperature_celsius"
    # Counters: running totals with resets already taken out, so they only grow.
    PROMPT_TOKENS_TOTAL = "prompt_tokens_total"
    GENERATION_TOKENS_TOTAL = "generation_tokens_total"
    REQUESTS_FINISHED_TOTAL = "requests_finished_total"
    PREFIX_QUERY_TOKENS_TOTAL = "prefix_query_tokens_total"
    PREFIX_HIT_TOKENS_TOTAL = "prefix_hit_tokens_total"
    PREEMPTIONS_TOTAL = "preemptions_total"
    ENERGY_JOULES_TOTAL = "energy_joules_total"
    # Rates, derived from the counters by the poller.
    PROMPT_TOKENS_PER_SECOND = "prompt_tokens_per_second"
    GENERATION_TOKENS_PER_SECOND = "generation_tokens_per_second"
    ENERGY_WATTS = "energy_watts"


COUNTERS: dict[SignalKind, SignalKind | None] = {
    SignalKind.PROMPT_TOKENS_TOTAL: SignalKind.PROMPT_TOKENS_PER_SECOND,
    SignalKind.GENERATION_TOKENS_TOTAL: SignalKind.GENERATION_TOKENS_PER_SECOND,
    SignalKind.ENERGY_JOULES_TOTAL: SignalKind.ENERGY_WATTS,
    SignalKind.REQUESTS_FINISHED_TOTAL: None,
    SignalKind.PREFIX_QUERY_TOKENS_TOTAL: None,
    SignalKind.PREFIX_HIT_TOKENS_TOTAL: None,
    SignalKind.PREEMPTIONS_TOTAL: None,
}
"""Every counter kind, with the rate kind derived from it (None: only its total is of use)."""


class Signal(NamedTuple):
    """A reading and when it was taken.

    Attributes:
        value: In the unit that ends the name of its kind.
        observed_seconds: Monotonic clock of this process; the time of the *measurement*, so that
            a cached or delayed answer arrives already old.
    """

    value: float
    observed_seconds: float


class Freshness(Enum):
    """How far a signal may be trusted."""

    FRESH = "fresh"
    STALE = "stale"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessPolicy:
    """Ages at which a signal stops being fresh, and at which it is as good as never seen.

    Attributes:
        fresh_seconds: Up to this age a signal is used as it is. Three scrapes of 1 s and a margin.
        absent_seconds: Beyond this age it is forgotten; between the two it is stale: shown and
            explained, but not decided on.
    """

    fresh_seconds: float = 5.0
    absent_seconds: float = 60.0

    def of(self, signal: Signal | None, *, now_seconds: float) -> Freshness:
        """Classify `signal`; None is absent. A reading from the future counts as fresh."""
        if signal is None:
            return Freshness.ABSENT
        age_seconds = now_seconds - signal.observed_seconds
        if age_seconds <= self.fresh_seconds:
            return Freshness.FRESH
        return Freshness.STALE if age_seconds <= self.absent_seconds else Freshness.ABSENT

    def fresh_value(self, signal: Signal | None, *, now_seconds: float) -> float | None:
        """Return the reading when fresh, else None: the one predicate deciders ask."""
        if signal is not None and now_seconds - signal.observed_seconds <= self.fresh_seconds:
            return signal.value
        return None
