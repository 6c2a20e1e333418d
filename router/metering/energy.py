"""What one request has taken, with what is not known of it said. Pure."""

from enum import StrEnum
from typing import NamedTuple

from router.metering.shares import Shares

# Floating error of sums over a flight; anything above it is a gap.
_WHOLE_RATIO = 1.0 - 1e-9


class Method(StrEnum):
    """How joules were found; both share a replica's power equally among its requests."""

    MEASURED = "prorated-measured"  # all known watts of the flight were measured
    MODELLED = "prorated-modelled"  # some came from the profile; measured_ratio says how many


class RequestEnergy(NamedTuple):
    """Energy, carbon and engine tokens of one request.

    Attributes:
        seconds: From pick to end.
        replica_seconds: Its share of replica time.
        joules: Idle power included; of the known part of the flight; None when all is unknown.
        dynamic_joules: The part above idle power; None likewise.
        grams_co2e: None when watts or intensity were unknown throughout.
        method: None when joules are.
        coverage_ratio: Part of the flight with known watts.
        measured_ratio: Part of the flight with measured watts.
        carbon_coverage_ratio: Part of the flight with known watts and intensity.
        engine_tokens: Output tokens, by the engine's rate; None unless known all the way.
    """

    seconds: float
    replica_seconds: float
    joules: float | None
    dynamic_joules: float | None
    grams_co2e: float | None
    method: Method | None
    coverage_ratio: float
    measured_ratio: float
    carbon_coverage_ratio: float
    engine_tokens: float | None


def energy_of(shares: Shares) -> RequestEnergy:
    """Read a request's own integrals. A flight that took no time took nothing, known as such."""
    seconds = shares.seconds
    if seconds <= 0.0:
        return RequestEnergy(0.0, 0.0, 0.0, 0.0, None, Method.MEASURED, 1.0, 1.0, 0.0, None)
    known_seconds = shares.measured_seconds + shares.modelled_seconds
    known = known_seconds > 0.0
    method = Method.MODELLED if shares.modelled_seconds else Method.MEASURED
    return RequestEnergy(
        seconds=seconds,
        replica_seconds=shares.replica_seconds,
        joules=shares.joules if known else None,
        dynamic_joules=shares.dynamic_joules if known else None,
        grams_co2e=shares.grams if shares.carbon_seconds else None,
        method=method if known else None,
        coverage_ratio=min(1.0, known_seconds / seconds),
        measured_ratio=min(1.0, shares.measured_seconds / seconds),
        carbon_coverage_ratio=min(1.0, shares.carbon_seconds / seconds),
        engine_tokens=shares.tokens if shares.token_seconds >= _WHOLE_RATIO * seconds else None,
    )
