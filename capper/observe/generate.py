"""`python -m capper.observe.generate`: writes rules, alerts, dashboards and their page."""

import json
from pathlib import Path
from typing import Any

import yaml

from capper.observe.dashboards.capping import CAPPING
from capper.observe.dashboards.routing import ROUTING
from capper.observe.rules.alerts import ALERTS
from capper.observe.rules.alerts import GROUP as ALERT_GROUP
from capper.observe.rules.recordings import GROUP, RECORDINGS
from capper.observe.rules.rule import Alert, Recording, prometheus_rule

_ROOT = Path(__file__).resolve().parents[2]
_NOTE = "# Made by python -m capper.observe.generate from the rules in capper/observe.\n"
DASHBOARDS = {"headrace-capping.json": CAPPING, "headrace-routing.json": ROUTING}


def generated() -> dict[Path, str]:
    """Path in the repository -> text of every generated file."""
    files = {
        Path("k8s/components/prometheus-rules/prometheusrule.yaml"): _rules(GROUP, RECORDINGS),
        Path("k8s/components/alerts/prometheusrule.yaml"): _rules(ALERT_GROUP, ALERTS),
        Path("docs/telemetry-rules.md"): page(),
    }
    for name, dashboard in DASHBOARDS.items():
        text = json.dumps(dashboard.document(), indent=1, sort_keys=True) + "\n"
        files[Path("k8s/dashboards") / name] = text
    return files


def page() -> str:
    """The documentation: written by hand as far as the marker, then made from the rules."""
    written = (_ROOT / "docs/telemetry-rules.md").read_text(encoding="utf-8")
    kept, marker, _ = written.partition("<!-- made from capper/observe/rules -->\n")
    rules = "".join(
        f"| `{rule.record}` | {_labels(rule)} | {rule.meaning} |\n" for rule in RECORDINGS
    )
    alerts = "".join(
        f"| `{alert.name}` | {alert.severity} | {alert.for_seconds} s | {alert.action} |\n"
        for alert in ALERTS
    )
    recorded = "## Recording rules\n\n| Series | Added labels | Meaning |\n|---|---|---|\n"
    alerted = "## Alerts\n\n| Alert | Severity | After | What to do |\n|---|---|---|---|\n"
    return f"{kept}{marker}\n{recorded}{rules}\n{alerted}{alerts}"


def _labels(rule: Recording) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in rule.labels) or "none"


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines as blocks, so that people can read them."""


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def _rules(name: str, rules: tuple[Recording | Alert, ...]) -> str:
    document = prometheus_rule(name, rules)
    return _NOTE + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100)


def main() -> None:
    """Write them."""
    for path, text in generated().items():
        target = _ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
