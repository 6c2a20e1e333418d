"""Panels, rows and dashboards in Grafana's JSON model (schema version 39)."""

from dataclasses import dataclass
from typing import Any

_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart.

    Attributes:
        title: Above it.
        unit: Grafana's name of the unit ("watt", "s", "percentunit", "short").
        queries: PromQL and the legend of its series.
        meaning: Shown behind the information sign.
        kind: "timeseries", "stat" or "table".
        width: Of 24 columns.
        dashed: Legends of series that are limits: drawn dashed.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    meaning: str
    kind: str = "timeseries"
    width: int = 12
    dashed: tuple[str, ...] = ()

    def document(self, number: int, *, x: int, y: int, height: int) -> dict[str, Any]:
        """As Grafana reads it."""
        dashes = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.meaning,
            "datasource": _SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
            "fieldConfig": {
                "defaults": {"unit": self.unit, "custom": {"spanNulls": False}},
                "overrides": [
                    {
                        "matcher": {"id": "byRegexp", "options": f".*{legend}.*"},
                        "properties": [dashes],
                    }
                    for legend in self.dashed
                ],
            },
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": _SOURCE,
                    "expr": promql,
                    "legendFormat": legend,
                    "instant": self.kind != "timeseries",
                }
                for index, (promql, legend) in enumerate(self.queries)
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top: the values of a label.

    Attributes:
        name: As `$name` in queries.
        metric: Whose label.
        label: Which.
    """

    name: str
    metric: str
    label: str

    def document(self) -> dict[str, Any]:
        """As Grafana reads it."""
        query = f"label_values({self.metric}, {self.label})"
        return {
            "name": self.name,
            "type": "query",
            "datasource": _SOURCE,
            "definition": query,
            "query": {"query": query, "refId": self.name},
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
            "refresh": 2,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One page.

    Attributes:
        uid: Stable, for links.
        title: Its name.
        variables: Choices.
        rows: Heading and panels, top to bottom.
    """

    uid: str
    title: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    def document(self) -> dict[str, Any]:
        """As Grafana reads it."""
        source = {"name": "datasource", "type": "datasource", "query": "prometheus"}
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["headrace"],
            "schemaVersion": 39,
            "editable": True,
            "refresh": "15s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [source, *(one.document() for one in self.variables)]},
            "panels": self._panels(),
        }

    def _panels(self) -> list[dict[str, Any]]:
        panels: list[dict[str, Any]] = []
        y = 0
        for heading, row in self.rows:
            grid = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
            number = len(panels) + 1
            panels.append({"id": number, "type": "row", "title": heading, "gridPos": grid})
            x, y = 0, y + 1
            height = 4 if all(one.kind == "stat" for one in row) else 8
            for one in row:
                if x + one.width > _WIDTH:
                    x, y = 0, y + height
                panels.append(one.document(len(panels) + 1, x=x, y=y, height=height))
                x += one.width
            y += height
        return panels
