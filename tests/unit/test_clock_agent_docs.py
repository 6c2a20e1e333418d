"""The agent's metrics, settings and the guide's files are those of the code."""

import re
import time

import pytest
from docs_tables import DOCS, described, rows
from guide_pages import blocks
from prometheus_client import CollectorRegistry

from capper.clocks.keeper import NodeKeeper
from capper.clocks.metrics import AgentCollector
from capper.clocks.nvml import Nvml
from capper.clocks.record_file import RecordFile
from headrace.agent_file import AgentSection, load_agent
from headrace.serve_file import load_serve
from headrace.tune_file import TuneSection, load_tune
from telemetry.system_clock import SystemClock
from tests.unit.test_docs import file_fields, shown

GUIDE = DOCS / "guide" / "gpu-clocks.md"


def test_every_metric_of_the_agent_is_documented_and_no_other(tmp_path):
    registry = CollectorRegistry()
    keeper = NodeKeeper(Nvml(), RecordFile(tmp_path), SystemClock(), time.sleep)
    AgentCollector(keeper, "node-1", registry)
    written = {
        row.name: row.cells[0] for row in rows("metrics.md") if row.name.startswith("clock_agent_")
    }
    assert written == {name: kind for name, (kind, _) in described(registry).items()}


@pytest.mark.parametrize(
    ("heading", "model"), [("agent.yaml", AgentSection), ("tune.yaml", TuneSection)]
)
def test_every_field_of_both_files_is_in_the_guide_with_its_default(heading, model):
    text = GUIDE.read_text(encoding="utf-8")
    section = text.split(f"### `{heading}`")[1].split("\n## ")[0].split("\n### ")[0]
    told = dict(re.findall(r"^\| `([\w.\[\]]+)` \| ([^|]+) \|", section, re.MULTILINE))
    declared = {
        ".".join(part for part in (path, name) if part): default
        for (path, name), default in file_fields(model)
        if not path.startswith("telemetry")
    }
    assert told == declared
    assert shown(None) == "none"


def test_the_files_of_the_guide_are_valid(tmp_path):
    loaders = {"agent.yaml": load_agent, "tune.yaml": load_tune, "serve.yaml": load_serve}
    found = {}
    for block in blocks(GUIDE, "yaml"):
        named = re.match(r"# ([\w.]+\.yaml)\n", block)
        if named:
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
            found[named[1]] = block
    for name in found.keys() & loaders.keys():
        loaders[name](tmp_path / name)
    assert loaders.keys() <= found.keys()
