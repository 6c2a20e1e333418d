"""The documentation is complete and true: it is compared with what the code declares."""

import argparse
import dataclasses
import importlib
import importlib.util
import re
import typing
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pydantic
import pytest
from builders import make_fleet, make_snapshot
from docs_tables import DOCS, code, described, rows
from metering_builders import metered
from prometheus_client import CollectorRegistry

from capper.kube.api import KubeApi
from capper.racks.sweeper import Sweeper
from capper.racks.webhook import Webhook
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import SnapshotHolder
from headrace import main as command_line
from headrace.envoy_plan import EnvoyLimits, EnvoyPlan, EnvoyTimeouts
from headrace.fleet_file import FleetSection
from headrace.fleet_watch import FleetFileSource
from headrace.serve_file import ServeSection
from headrace.workers.metrics import WorkersCollector
from headrace.workers.mirror_metrics import MirrorCollector
from router.admission.decider import Admission
from router.admission.metrics import AdmissionCollector
from router.admission.queue import Fate
from router.admission.settings import AdmissionSettings
from router.affinity_metrics import AffinityCollector
from router.decide.affinity_sessions import SessionVerdict
from router.decide.ledger import Ledger
from router.decide.outcome import PickReason, RejectionReason
from router.decide.picker import Picker
from router.decide.policies import POLICIES
from router.decide.room import Room
from router.decide.settings import DecideSettings
from router.extproc.hints import HINT_HEADERS
from router.extproc.states import StreamOutcome
from router.metrics import RouterMetrics
from telemetry import reading
from telemetry.families import FAMILIES
from telemetry.instruments import Instruments, SignalCollector
from telemetry.system_clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
]
FOLDERS = r"(?:capper|docs|envoy|fleet|headrace|loadtest|router|telemetry|tests)"


def table(page: str) -> dict[tuple[str, str], tuple[str, ...]]:
    found = list(rows(page))
    documented = {(row.section, row.name): row.cells for row in found}
    assert len(documented) == len(found), "a name is documented twice in one section"
    return documented


# Settings


def inner_section(annotation: object) -> tuple[type[pydantic.BaseModel] | None, bool]:
    """The section that a field holds, if it holds one, and whether it holds many."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation, False
    for argument in typing.get_args(annotation):
        section, many = inner_section(argument)
        if section is not None:
            return section, many or typing.get_origin(annotation) is tuple
    return None, False


def shown(default: object) -> str:
    if default is None:
        return "none"
    if default in ((), {}, ""):
        return "empty"
    if isinstance(default, tuple):
        return code(default)
    return f"`{default}`"


def file_fields(
    model: type[pydantic.BaseModel], path: str = ""
) -> Iterator[tuple[tuple[str, str], str]]:
    for name, field in model.model_fields.items():
        section, many = inner_section(field.annotation)
        if section is not None:
            inside = f"{path}.{name}" if path else name
            yield from file_fields(section, inside + "[]" * many)
        elif field.is_required():
            yield (path, name), "required"
        else:
            yield (path, name), shown(field.get_default(call_default_factory=True))


def plan_fields(plan: type) -> Iterator[tuple[tuple[str, str], str]]:
    for field in dataclasses.fields(plan):
        if field.default is not dataclasses.MISSING:
            yield (plan.__name__, field.name), shown(field.default)
        elif field.default_factory is dataclasses.MISSING:
            yield (plan.__name__, field.name), "required"


def test_every_setting_is_documented_with_its_default_and_no_other():
    declared = dict(file_fields(FleetSection)) | dict(file_fields(ServeSection))
    for plan in (EnvoyPlan, EnvoyTimeouts, EnvoyLimits):
        declared |= dict(plan_fields(plan))
    documented = table("settings.md")
    headers = {key for key in documented if key[0] == "headers"}
    policies = {key for key in documented if key[0] == "policy"}
    told = {key: cells[1] for key, cells in documented.items() if key not in headers | policies}
    assert told == declared
    assert {name for _, name in headers} == HINT_HEADERS
    assert {name for _, name in policies} == POLICIES.keys()


def test_every_setting_has_a_type_and_a_meaning():
    assert [row for row in rows("settings.md") if not all(row.cells)] == []


# Metrics


@pytest.fixture
def registry(tmp_path):
    registry, clock = CollectorRegistry(), SystemClock()
    fleet = make_fleet()
    holder = SnapshotHolder(make_snapshot(fleet, at_seconds=clock.monotonic_seconds()))
    RouterMetrics(registry=registry, ledger=Ledger(), snapshots=holder, clock=clock)
    metered(registry, holder, clock)
    picker = Picker(fleet, DecideSettings())
    admission = Admission(picker, Room(picker), AdmissionSettings(), clock=clock, draw=float)
    AdmissionCollector(admission, registry)
    registry.register(AffinityCollector(picker, clock))
    Instruments(registry)
    registry.register(SignalCollector(holder, clock, FreshnessPolicy()))
    registry.register(MirrorCollector(None))
    registry.register(WorkersCollector(()))
    example = tmp_path / "fleet.yaml"
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    example.write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    FleetFileSource(example, clock, registry)._look()  # as start() does, without its task
    Webhook(registry)
    Sweeper(KubeApi(None), clock, registry, namespaces=(), gate_seconds=60.0)
    return registry


def test_every_metric_is_documented_with_type_and_labels_and_no_other(registry):
    written = {
        row.name: (row.cells[0], row.cells[1])
        for row in rows("metrics.md")
        if row.name.startswith("headrace_")
    }
    actual = described(registry)
    assert len(actual) > 10
    build = actual.pop("headrace_router_build_info")
    assert build[0] == "info"
    assert written.pop("headrace_router_build_info") == ("info", "`version`")
    assert written == actual


def test_every_metric_name_in_the_documentation_exists(registry):
    exposed = set(described(registry))
    for page in PAGES:
        text = page.read_text("utf-8")
        named = set(re.findall(r"\bheadrace_(?:discovery|router|telemetry)_\w+", text))
        assert named <= exposed, page


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("headrace_router_picks_total", PickReason),
        ("headrace_router_rejections_total", RejectionReason),
        ("headrace_router_streams_total", StreamOutcome),
        ("headrace_router_queue_requests_ended_total", Fate),
        ("headrace_router_session_picks_total", SessionVerdict),
        ("headrace_telemetry_failures_total", reading.FailureReason),
        ("headrace_telemetry_rejected_readings_total", reading.RejectionReason),
    ],
)
def test_every_value_of_a_closed_label_is_documented_and_no_other(label: str, values: StrEnum):
    [section] = {row.section for row in rows("metrics.md") if row.section.startswith(label)}
    written = [row.name for row in rows("metrics.md") if row.section == section]
    assert written == [value.value for value in values]


def test_every_signal_is_documented_with_the_families_that_are_read_for_it():
    documented = {row.name: row.cells[0] for row in rows("metrics.md") if row.section == "signal"}
    assert list(documented) == [kind.value for kind in SignalKind]
    for kind in SignalKind:
        families = [family.selector for family in FAMILIES if family.kind is kind]
        if families:
            assert documented[kind.value] == code(families)


# Command line


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    # The table of commands is the module's own; nothing public tells which module is behind one.
    for name, (module_name, _) in command_line._COMMANDS.items():
        *parents, _ = module_name.split(".")
        if importlib.util.find_spec(".".join(parents)) and importlib.util.find_spec(module_name):
            parser = argparse.ArgumentParser(prog=name)
            importlib.import_module(module_name).add_arguments(parser)
            yield name, parser


def test_every_flag_of_every_command_is_documented_and_no_other():
    documented: dict[str, set[str]] = {}
    for row in rows("command-line.md"):
        name, flag = row.section.removeprefix("headrace "), row.name.split(" ")[0]
        documented.setdefault(name, set()).add(flag)
    for name, parser in commands():
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", parser.format_usage()))
        positional = {action.dest for action in parser._get_positional_actions()}
        flags = {flag for flag in documented[name] if flag.startswith("--")}
        assert flags == told - {"--help"}, name
        assert len(documented[name] - flags) == len(positional), name


def test_every_command_has_its_section():
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    named = re.findall(r"^## `headrace ([a-z-]+)`$", text, re.MULTILINE)
    assert named == list(command_line._COMMANDS)


# Pages as a whole


def test_every_file_that_the_documentation_names_exists():
    missing = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(rf"`({FOLDERS}/[\w./-]+)`", text):
            if not (ROOT / name).exists():
                missing.add(f"{page.name}: {name}")
    assert missing == set()


def test_every_relative_link_leads_somewhere():
    broken = set()
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text("utf-8")):
            if not (page.parent / target).exists():
                broken.add(f"{page.name}: {target}")
    assert broken == set()


def test_decisions_are_numbered_without_gaps_and_have_the_three_parts():
    paths = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], path.name


def test_the_path_of_a_request_is_at_most_six_files():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## The path of a request")[1].split("\n## ")[0]
    steps = re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.MULTILINE)
    assert 1 < len(set(steps)) <= 6
    assert steps[0] == "router/extproc/servicer.py"


def test_the_changelog_keeps_the_form_and_one_sentence_per_line():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Changelog"
    assert "## [Unreleased]" in lines
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line.removeprefix("### ") for line in lines if line.startswith("### ")} <= kinds
    entries = [line for line in lines if line.startswith("- ")]
    assert entries
    assert [line for line in entries if not line.endswith(".") or ". " in line] == []
