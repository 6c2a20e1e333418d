"""Rules as values, and the PrometheusRule object around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INTERVAL = "15s"
"""How often rules are evaluated: one scrape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording rule.

    Attributes:
        record: Name of the series, "capper:..." with its unit.
        expr: PromQL.
        meaning: One sentence, for the documentation.
        labels: Added to each series.
    """

    record: str
    expr: str
    meaning: str
    labels: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.record, "expr": self.expr, **labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule.

    Attributes:
        name: As Alertmanager shows it.
        expr: PromQL; fires while it has a result.
        for_seconds: For at least so long.
        severity: "critical" or "warning".
        summary: One line, with the labels in it.
        action: What to do.
    """

    name: str
    expr: str
    for_seconds: int
    severity: str
    summary: str
    action: str

    def document(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": f"{self.for_seconds}s",
            "labels": {"severity": self.severity, "component": "capper"},
            "annotations": {"summary": self.summary, "description": self.action},
        }


def groups(name: str, rules: Sequence[Recording | Alert]) -> dict[str, Any]:
    """One group: its rules run one after another, so that each sees those before it.

    This is the content of a rule file, and the `spec` of a PrometheusRule.
    """
    documents = [rule.document() for rule in rules]
    return {"groups": [{"name": name, "interval": INTERVAL, "rules": documents}]}


def prometheus_rule(name: str, rules: Sequence[Recording | Alert]) -> dict[str, Any]:
    """The object that the Prometheus operator reads (monitoring.coreos.com/v1)."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": "headrace",
                "app.kubernetes.io/component": "rules",
            },
        },
        "spec": groups(name, rules),
    }
