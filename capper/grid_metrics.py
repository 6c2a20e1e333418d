"""Prometheus families of grid carbon and cooling, from the newest reports of the loop's turns."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from capper.operator.report import TurnReport

_Value = Callable[[TurnReport], float | None]


def _forecast_seconds(report: TurnReport) -> float | None:
    """How far the forecast reaches; below 0 it is over."""
    until = report.carbon.told.until_seconds
    metered = report.carbon.memory.state.metered_seconds
    return None if until is None or metered is None else until - metered


def _airflow(report: TurnReport) -> float | None:
    point = report.cooling.point
    return None if point is None else point.airflow_m3_per_second


_CARBON: tuple[tuple[str, str, _Value], ...] = (
    (
        "intensity_grams_per_kwh",
        "Carbon intensity now.",
        lambda it: it.carbon.grams_per_kilowatt_hour,
    ),
    ("forecast_age_seconds", "Since the answer was made.", lambda it: it.carbon.told.age_seconds),
    ("forecast_ahead_seconds", "From now to the end of the last slot.", _forecast_seconds),
    ("cap_watts", "The lowest cap that carbon asks for.", lambda it: it.carbon.asked_watts),
    ("eco_mode", "1 while such a cap is in force.", lambda it: float(bool(it.carbon.caps))),
    ("budget_grams", "Allowed in the period.", lambda it: it.carbon.budget_grams),
    ("budget_left_grams", "Left of that.", lambda it: it.carbon.budget_left_grams),
)
_COOLING: tuple[tuple[str, str, _Value], ...] = (
    (
        "supply_set_celsius",
        "Supply set-point that was decided.",
        lambda it: None if it.cooling.point is None else it.cooling.point.supply_celsius,
    ),
    (
        "supply_in_force_celsius",
        "Supply set-point that the manager says to hold.",
        lambda it: it.cooling.in_force_celsius,
    ),
    ("supply_celsius", "Measured supply temperature.", lambda it: it.cooling.supply_celsius),
    ("airflow_set_cubic_meters_per_second", "Air flow that was decided.", _airflow),
    (
        "safe",
        "1 while the safe set-point is in force because something is not known.",
        lambda it: float(it.cooling.safe),
    ),
)


def grid_families(reports: Mapping[str, TurnReport]) -> Iterator[Metric]:
    """All of them; what is unknown or switched off has no sample."""
    carbon = {name: one for name, one in reports.items() if one.carbon.active}
    cooled = {name: one for name, one in reports.items() if one.cooling.active}
    yield from _gauges("carbon", _CARBON, carbon)
    yield from _gauges("cooling", _COOLING, cooled)
    emitted = _counter("carbon_emitted_grams", "gCO2e, boards and PUE.", "config", "kind")
    for name, report in carbon.items():
        state = report.carbon.memory.state
        emitted.add_metric([name, state.kind or "unknown"], state.total_grams)
    yield emitted
    writes = _counter("cooling_writes", "Set-points that the manager took.", "config")
    for name, report in cooled.items():
        writes.add_metric([name], report.cooling.writes)
    yield writes
    yield _failures(
        "carbon_feed_failures", {name: one.carbon.told.failures for name, one in carbon.items()}
    )
    yield _failures(
        "cooling_failures", {name: one.cooling.failures for name, one in cooled.items()}
    )


def _gauges(
    part: str, series: tuple[tuple[str, str, _Value], ...], reports: Mapping[str, TurnReport]
) -> Iterator[Metric]:
    for suffix, text, value_of in series:
        family = GaugeMetricFamily(f"capper_{part}_{suffix}", text, labels=["config"])
        for name, report in reports.items():
            value = value_of(report)
            if value is not None:
                family.add_metric([name], value)
        yield family


def _failures(name: str, counts: Mapping[str, Mapping[str, int]]) -> Metric:
    family = _counter(name, "Questions and orders that failed, by reason.", "config", "reason")
    for config, by_reason in counts.items():
        for reason, count in by_reason.items():
            family.add_metric([config, reason], count)
    return family


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"capper_{name}", text, labels=labels)
