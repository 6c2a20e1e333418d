"""Software Carbon Intensity per model (ISO/IEC 21031): SCI = (E * I + M) / R. Pure.

E * I is the sum of the requests' grams, I taken at the time of the energy. M is embodied carbon:
grams per second of a replica, declared by the operator, shared like its power; without a
declaration it is excluded, and the figure says so. R is a request, or 1,000 output tokens. Only
requests whose grams (and tokens) are known are in numerator and denominator.
"""

from typing import NamedTuple

from router.metering.series import Series

_TOKENS_PER_UNIT = 1000.0


class Sci(NamedTuple):
    """Of one model; None where no request tells.

    Attributes:
        grams_per_request: R = one request.
        grams_per_1k_output_tokens: R = 1,000 output tokens.
        requests: How many the first is over.
        output_tokens: How many the second is over.
        embodied: "included" or "excluded".
    """

    grams_per_request: float | None
    grams_per_1k_output_tokens: float | None
    requests: int
    output_tokens: float
    embodied: str


def sci_by_model(
    series: Series, *, embodied_grams_per_replica_second: float | None
) -> dict[str, Sci]:
    """The figures of every model that has had a request with known grams."""
    sums: dict[str, dict[str, float]] = {}
    for (model, _, _), found in series:
        into = sums.setdefault(model, dict.fromkeys(found.numbers, 0.0))
        for name, value in found.numbers.items():
            into[name] += value
    embodied = embodied_grams_per_replica_second or 0.0
    told = "excluded" if embodied_grams_per_replica_second is None else "included"
    return {
        model: Sci(
            _ratio(s["grams_co2e"] + embodied * s["sci_replica_seconds"], s["sci_requests"]),
            _ratio(
                s["sci_token_grams"] + embodied * s["sci_token_replica_seconds"],
                s["sci_tokens"] / _TOKENS_PER_UNIT,
            ),
            int(s["sci_requests"]),
            s["sci_tokens"],
            told,
        )
        for model, s in sums.items()
        if s["sci_requests"]
    }


def _ratio(value: float, by: float) -> float | None:
    return value / by if by else None
