"""The capper's Prometheus metrics, from the reports of its turns.

State is read off the newest report of each configuration when somebody scrapes: a configuration, a
rack or a target that is gone takes its series with it.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from capper.advice_metrics import advice_families
from capper.decide.plan import ConditionType
from capper.decide.policy import Mode
from capper.grid_metrics import grid_families
from capper.observe.effects import Effects
from capper.observe.promises import Promise, Watcher
from capper.observe.series import (
    DOMAIN_SERIES,
    TARGET_SERIES,
    Values,
    domain_values,
    target_values,
)
from capper.operator.report import TurnReport
from fleet.clock import Clock

_PREFIX = "capper_"
_EFFECT_BUCKETS_SECONDS = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800)
_TURN_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class CapperMetrics:
    """Counts and shows what the capping loop does; `record` is one of its listeners."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        """Register with `registry`; `clock` for the time of turns and effects."""
        self._clock = clock
        self._reports: dict[str, TurnReport] = {}
        self._effects: dict[str, Effects] = {}
        self._watchers: dict[str, Watcher] = {}
        self._actions = Counter(
            _PREFIX + "actions_total",
            "Actions, by how they ended.",
            ["config", "action", "outcome"],
            registry=registry,
        )
        self._effect_seconds = Histogram(
            _PREFIX + "decision_to_effect_seconds",
            "From an action that was applied to the turn in which it showed.",
            ["action"],
            buckets=_EFFECT_BUCKETS_SECONDS,
            registry=registry,
        )
        self._effects_missing = Counter(
            _PREFIX + "effects_missing_total",
            "Actions that were applied and never showed within an hour.",
            ["action"],
            registry=registry,
        )
        self._broken = Counter(
            _PREFIX + "broken_promises_total",
            "Turns that broke a promise; anything but 0 is a defect of Headrace.",
            ["promise"],
            registry=registry,
        )
        for promise in Promise:  # so that 0 is shown, not nothing
            self._broken.labels(promise.value)
        self._turn_seconds = Histogram(
            _PREFIX + "turn_seconds",
            "Observing, deciding and acting for all configurations.",
            buckets=_TURN_BUCKETS_SECONDS,
            registry=registry,
        )
        self._leader = Gauge(_PREFIX + "leader", "1 where this process may act.", registry=registry)
        self._leader.set(1)
        registry.register(_Newest(self._reports))
        self._turned = Gauge(
            _PREFIX + "turn_timestamp_seconds",
            "When the newest turn ended, epoch seconds.",
            ["config"],
            registry=registry,
        )

    def record(self, report: TurnReport) -> None:
        """Take up one report; never raises."""
        name, now_seconds = report.name, self._clock.epoch_seconds()
        for result in report.results:
            action = type(result.action).__name__
            self._actions.labels(name, action, result.outcome.value).inc()
        for effect in self._effects.setdefault(name, Effects()).note(
            report, now_seconds=now_seconds
        ):
            if effect.seconds is None:
                self._effects_missing.labels(effect.action).inc()
            else:
                self._effect_seconds.labels(effect.action).observe(effect.seconds)
        for promise in self._watchers.setdefault(name, Watcher()).broken(report):
            self._broken.labels(promise.value).inc()
        self._turn_seconds.observe(report.duration_seconds)
        if report.ended:
            self._forget(name)
            return
        self._reports[name] = report
        self._turned.labels(name).set(now_seconds)

    def watch_leader(self, leading: Callable[[], bool]) -> None:
        """Show whether this process leads, asked at each scrape."""
        self._leader.set_function(lambda: float(leading()))

    def _forget(self, name: str) -> None:
        if self._reports.pop(name, None) is not None:
            self._turned.remove(name)
        self._effects.pop(name, None)
        self._watchers.pop(name, None)
        self._actions.remove_by_labels({"config": name})


class _Newest(Collector):
    """Gauges of the newest reports."""

    def __init__(self, reports: dict[str, TurnReport]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """All of them; values that are unknown have no sample."""
        reports = dict(self._reports)
        yield GaugeMetricFamily(
            _PREFIX + "configurations", "Configurations in force.", value=len(reports)
        )
        yield from _of_configurations(reports)
        yield from _of_parts("domain", DOMAIN_SERIES, domain_values, reports)
        yield from _of_parts("target", TARGET_SERIES, target_values, reports)
        yield from grid_families(reports)
        yield from advice_families(reports)


def _of_configurations(reports: Mapping[str, TurnReport]) -> Iterator[GaugeMetricFamily]:
    conditions = _gauge("condition", "1 while a condition holds.", "config", "type")
    modes = _gauge("mode", "1 for the mode of a configuration.", "config", "mode")
    holds = _gauge("holds", "Targets and domains that are left alone.", "config")
    for name, report in reports.items():
        holding = {one.type for one in report.plan.conditions}
        for kind in ConditionType:
            conditions.add_metric([name, kind.value], float(kind in holding))
        for mode in Mode:
            modes.add_metric([name, mode.value], float(mode is report.policy.mode))
        holds.add_metric([name], len(report.plan.holds))
    yield from (conditions, modes, holds)


def _of_parts(
    part: str,
    texts: Mapping[str, str],
    values_of: Callable[[TurnReport], dict[str, Values]],
    reports: Mapping[str, TurnReport],
) -> Iterator[GaugeMetricFamily]:
    found = {name: values_of(report) for name, report in reports.items()}
    for suffix, text in texts.items():
        family = _gauge(f"{part}_{suffix}", text, "config", part)
        for name, parts in found.items():
            for one, values in parts.items():
                value = values.get(suffix)
                if value is not None:
                    family.add_metric([name, one], value)
        yield family


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)
