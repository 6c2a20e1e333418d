"""The metering's Prometheus metrics, made when somebody scrapes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fleet.units import JOULES_PER_KILOWATT_HOUR
from router.metering.access_log import AccessLog
from router.metering.completions import Completions
from router.metering.meter import Meter
from router.metering.sci import sci_by_model
from router.metering.series import Histogram, Series, Sums

PREFIX = "headrace_router_"
_WHO = ["model", "backend", "tenant"]


class _Counter(NamedTuple):
    name: str
    summed: str
    text: str


_COUNTERS = (
    _Counter("dynamic_joules", "dynamic_joules", "Energy above idle of ended requests."),
    _Counter("grams_co2e", "grams_co2e", "Carbon of ended requests whose intensity is known."),
    _Counter("prompt_tokens", "prompt_tokens", "Prompt tokens, as responses tell them."),
    _Counter("cached_prompt_tokens", "cached_prompt_tokens", "Found in the prefix cache."),
    _Counter("replica_seconds", "replica_seconds", "Replica time that ended requests took."),
    _Counter("metered_seconds", "known_seconds", "Time of ended requests with known watts."),
    _Counter("predicted_joules", "predicted_joules", "Energy above idle predicted at the pick."),
    _Counter(
        "counterfactual_joules",
        "counterfactual_joules",
        "Energy above idle predicted for what least-request would have picked.",
    ),
)


class MeteringCollector(Collector):
    """Reads meter and series when asked."""

    def __init__(
        self,
        *,
        meter: Meter,
        series: Series,
        monotonic_seconds: Callable[[], float],
        domains: Callable[[], tuple[str, ...]],
        embodied_grams_per_replica_second: float | None = None,
        completions: Completions | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        """Read from these.

        Args:
            meter: Totals by backend; brought up to now with every scrape.
            series: Sums of ended requests.
            monotonic_seconds: The clock.
            domains: Whose carbon intensity is told.
            embodied_grams_per_replica_second: M of Software Carbon Intensity; None: excluded.
            completions: Counts of the access-log receiver, when there is one.
            access_log: Counts of access records, when they are written.
        """
        self._meter = meter
        self._series = series
        self._monotonic_seconds = monotonic_seconds
        self._domains = domains
        self._embodied = embodied_grams_per_replica_second
        self._completions = completions
        self._access_log = access_log

    def collect(self) -> Iterator[Metric]:
        """All families, empty ones too."""
        yield from self._requests()
        yield from self._histograms()
        yield from self._counters()
        yield from self._replicas()
        yield from self._carbon()
        yield from self._logged()

    def _requests(self) -> Iterator[Metric]:
        ended = CounterMetricFamily(
            PREFIX + "requests_ended", "Requests that ended, by method.", labels=[*_WHO, "method"]
        )
        tokens = CounterMetricFamily(
            PREFIX + "output_tokens", "Output tokens, by source.", labels=[*_WHO, "source"]
        )
        for key, sums in self._series:
            for method, count in sums.ended.items():
                ended.add_metric([*key, method], count)
            for source, generated in sums.tokens.items():
                tokens.add_metric([*key, source], generated)
        yield ended
        yield tokens

    def _histograms(self) -> Iterator[Metric]:
        joules = HistogramMetricFamily(
            PREFIX + "request_joules", "Energy of a request, idle included.", labels=_WHO
        )
        for key, sums in self._series:
            _add(joules, key, sums.joules)
        yield joules
        for name, text, of in _LATENCIES:
            family = HistogramMetricFamily(PREFIX + name, text, labels=_WHO)
            for key, sums in self._series:
                _add(family, key, of(sums))
            yield family

    def _counters(self) -> Iterator[Metric]:
        for counter in _COUNTERS:
            family = CounterMetricFamily(PREFIX + counter.name, counter.text, labels=_WHO)
            for key, sums in self._series:
                family.add_metric(key, sums.numbers[counter.summed])
            yield family
        saved = GaugeMetricFamily(
            PREFIX + "saved_joules",
            "Counterfactual minus predicted joules since the start; may fall.",
            labels=_WHO,
        )
        for key, sums in self._series:
            numbers = sums.numbers
            saved.add_metric(key, numbers["counterfactual_joules"] - numbers["predicted_joules"])
        yield saved

    def _replicas(self) -> Iterator[Metric]:
        self._meter.advance(now_seconds=self._monotonic_seconds())
        for name, text in _TOTALS:
            family = CounterMetricFamily(PREFIX + name, text, labels=["backend"])
            for backend, totals in self._meter.totals.items():
                family.add_metric([backend], getattr(totals, name))
            yield family

    def _carbon(self) -> Iterator[Metric]:
        intensity = GaugeMetricFamily(
            PREFIX + "carbon_intensity_grams_per_kwh",
            "gCO2e per kWh in force, where known.",
            labels=["domain"],
        )
        now_seconds = self._monotonic_seconds()
        for domain in self._domains():
            grams = self._meter.intensity.grams_per_joule(domain, now_seconds=now_seconds)
            if grams is not None:
                intensity.add_metric([domain], grams * JOULES_PER_KILOWATT_HOUR)
        yield intensity
        labels = ["model", "embodied"]
        by_request = GaugeMetricFamily(
            PREFIX + "sci_grams_per_request", "Software Carbon Intensity.", labels=labels
        )
        by_tokens = GaugeMetricFamily(
            PREFIX + "sci_grams_per_1k_output_tokens",
            "Software Carbon Intensity per 1,000 output tokens.",
            labels=labels,
        )
        figures = sci_by_model(self._series, embodied_grams_per_replica_second=self._embodied)
        for model, sci in figures.items():
            if sci.grams_per_request is not None:
                by_request.add_metric([model, sci.embodied], sci.grams_per_request)
            if sci.grams_per_1k_output_tokens is not None:
                by_tokens.add_metric([model, sci.embodied], sci.grams_per_1k_output_tokens)
        yield by_request
        yield by_tokens

    def _logged(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            PREFIX + "access_log_entries",
            "Requests and entries of the access-log receiver, by what became of them.",
            labels=["outcome"],
        )
        if self._completions is not None:
            for outcome in ("matched", "unmatched", "expired"):
                family.add_metric([outcome], getattr(self._completions, outcome))
        yield family
        records = CounterMetricFamily(
            PREFIX + "access_records", "Access records, by what became of them.", labels=["outcome"]
        )
        if self._access_log is not None:
            records.add_metric(["written"], self._access_log.written)
            records.add_metric(["dropped"], self._access_log.dropped)
        yield records


_LATENCIES: tuple[tuple[str, str, Callable[[Sums], Histogram]], ...] = (
    ("request_duration_seconds", "From pick to end.", lambda sums: sums.duration),
    ("time_to_first_byte_seconds", "From pick to response headers.", lambda sums: sums.ttfb),
    (
        "time_to_first_token_seconds",
        "From pick to the first bytes of a streamed body.",
        lambda sums: sums.ttft,
    ),
)
_TOTALS = (
    ("busy_seconds", "Replica time with own requests in flight."),
    ("unknown_seconds", "The part of it without known watts."),
    ("busy_joules", "Energy of replicas while own requests were in flight."),
    ("foreign_joules", "The part of it that is other routers' requests' share."),
    ("idle_joules", "Energy of replicas while no own request was in flight."),
)


def _add(family: HistogramMetricFamily, key: tuple[str, str, str], histogram: Histogram) -> None:
    family.add_metric(key, histogram.cumulated(), sum_value=histogram.total)
