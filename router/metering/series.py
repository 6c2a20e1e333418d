"""Sums and histograms of ended requests by model, backend and tenant, bounded in number. Pure.

A request costs one look-up and some additions; Prometheus text is made when somebody scrapes
(router.metering.collector).
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from router.metering.journey import Journey
from router.metering.record import AccessRecord

OVERFLOW = "other"
"""Label of all values that came after the bound was reached."""
NO_TENANT = "none"

JOULES_BOUNDS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
SECONDS_BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class BoundedLabels:
    """Lets the first `limit` values of a label through; the others all are "other"."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._known: set[str] = set()
        self._limit = limit

    def admit(self, value: str) -> str:
        """The label to count `value` under, for ever the same one."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OVERFLOW
        self._known.add(value)
        return value


class Histogram:
    """Counts by upper bound, not cumulated, and the sum.

    Attributes:
        bounds: Upper bounds; one more count is kept for what is above the last.
        counts: Per bound.
        total: Sum of values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Start empty."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulated(self) -> list[tuple[str, float]]:
        """(upper bound, values up to it), the last "+Inf", as Prometheus tells them."""
        bounds = [*(str(bound) for bound in self.bounds), "+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


class Sums:
    """Of one model, backend and tenant; joules and grams are of requests that have them.

    Attributes:
        joules: Histogram; its total is their sum.
        duration: From pick to end.
        ttfb: To the response headers.
        ttft: To the first bytes of a streamed body.
        ended: Requests by method.
        tokens: Output tokens by source.
        numbers: The rest, by name of what is summed.
        owed_joules: By which boards have drawn less than their nominal idle power: made good before
            more dynamic joules are counted, since a counter may not fall.
    """

    __slots__ = ("duration", "ended", "joules", "numbers", "owed_joules", "tokens", "ttfb", "ttft")

    def __init__(self) -> None:
        """Start empty."""
        self.joules = Histogram(JOULES_BOUNDS)
        self.duration = Histogram(SECONDS_BOUNDS)
        self.ttfb = Histogram(SECONDS_BOUNDS)
        self.ttft = Histogram(SECONDS_BOUNDS)
        self.ended: dict[str, int] = {}
        self.tokens: dict[str, float] = {}
        self.numbers: dict[str, float] = dict.fromkeys(SUMMED, 0.0)
        self.owed_joules = 0.0


SUMMED = (
    "dynamic_joules",
    "grams_co2e",
    "prompt_tokens",
    "cached_prompt_tokens",
    "replica_seconds",
    "known_seconds",
    "predicted_joules",
    "counterfactual_joules",
    # For Software Carbon Intensity: only requests whose grams, and tokens, are known.
    "sci_requests",
    "sci_replica_seconds",
    "sci_token_grams",
    "sci_token_replica_seconds",
    "sci_tokens",
)

Key = tuple[str, str, str]


class Series:
    """All sums, by (model, backend, tenant). A sink of the recorder."""

    def __init__(self, *, max_tenants: int = 100, max_models: int = 1000) -> None:
        """Start empty; what comes after the bounds is counted as "other"."""
        self._tenants = BoundedLabels(max_tenants)
        self._models = BoundedLabels(max_models)
        self._sums: dict[Key, Sums] = {}

    def __iter__(self) -> Iterator[tuple[Key, Sums]]:
        """All ((model, backend, tenant), sums)."""
        return iter(self._sums.items())

    def add(self, record: AccessRecord, _journey: Journey | None = None) -> None:
        """Count one ended request."""
        tenant = NO_TENANT if record.tenant is None else self._tenants.admit(record.tenant)
        key = (self._models.admit(record.model), record.backend, tenant)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Sums()
        sums.ended[record.method] = sums.ended.get(record.method, 0) + 1
        sums.duration.add(record.duration_seconds)
        if record.ttfb_seconds is not None:
            sums.ttfb.add(record.ttfb_seconds)
        if record.ttft_seconds is not None:
            sums.ttft.add(record.ttft_seconds)
        if record.joules is not None:
            sums.joules.add(record.joules)
        if record.output_tokens is not None:
            tokens = sums.tokens
            tokens[record.tokens_source] = (
                tokens.get(record.tokens_source, 0.0) + record.output_tokens
            )
        above_idle_joules = (record.dynamic_joules or 0.0) - sums.owed_joules
        sums.numbers["dynamic_joules"] += max(above_idle_joules, 0.0)
        sums.owed_joules = max(-above_idle_joules, 0.0)
        _add_numbers(sums.numbers, record)


def _add_numbers(numbers: dict[str, float], record: AccessRecord) -> None:
    numbers["prompt_tokens"] += record.prompt_tokens or 0
    numbers["cached_prompt_tokens"] += record.cached_prompt_tokens or 0
    numbers["replica_seconds"] += record.replica_seconds
    numbers["known_seconds"] += record.coverage_ratio * record.duration_seconds
    if record.counterfactual_dynamic_joules is not None:
        numbers["predicted_joules"] += record.predicted_dynamic_joules
        numbers["counterfactual_joules"] += record.counterfactual_dynamic_joules
    grams = record.grams_co2e
    if grams is not None:
        numbers["grams_co2e"] += grams
        numbers["sci_requests"] += 1
        numbers["sci_replica_seconds"] += record.replica_seconds
        if record.output_tokens:
            numbers["sci_token_grams"] += grams
            numbers["sci_token_replica_seconds"] += record.replica_seconds
            numbers["sci_tokens"] += record.output_tokens
