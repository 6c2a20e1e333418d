"""The bundled Locust and k6 scenarios: Locust's is run against the whole product."""

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest
from stack_files import MODEL
from stack_harness import running_stack, three_h100

from tests.unit.test_project import ROOT

LOCUST = ROOT / "loadtest/locust/openai_chat.py"
K6 = ROOT / "loadtest/k6/openai-chat.js"


async def locust(url, *options, seconds=3):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "locust", "-f", str(LOCUST), "--headless", "--host", url, "--json"),
        *("--models", MODEL, "--run-seconds", str(seconds), "--most-users", "5"),
        *("--most-output-tokens", "40", "--skip-log", *options),
        stdout=PIPE,
        stderr=STDOUT,
    )
    said = (await process.communicate())[0].decode()
    return process.returncode, said


@pytest.mark.envoy
async def test_the_locust_scenario_runs_against_the_product(tmp_path):
    async with running_stack(tmp_path, three_h100()) as stack:
        code, said = await locust(stack.lane.base_url, "--traffic", "spike")
        assert code == 0, said
        figures = json.loads(said[said.index("[") : said.rindex("]") + 1])
        kinds = {row["method"]: row["num_requests"] for row in figures}
        assert kinds["POST"] >= 5
        assert kinds["TTFT"] == kinds["POST"]
        assert 0 < kinds["TPOT"] <= kinds["POST"]
        assert sum(row["num_failures"] for row in figures) == 0

        code, said = await locust(stack.lane.base_url, "--plain", "--ttft-p95-ms", "1000")
        assert code == 1
        assert "threshold: TTFT was not measured" in said


async def test_a_gateway_that_is_not_there_breaks_the_threshold():
    code, said = await locust("http://127.0.0.1:9", seconds=2)
    assert code == 1
    assert "of all failed, above 0.01" in said


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to check the syntax with")
async def test_the_k6_scenario_is_a_valid_module(tmp_path):
    copy = tmp_path / "scenario.mjs"
    copy.write_bytes(K6.read_bytes())
    process = await asyncio.create_subprocess_exec(
        "node", "--check", str(copy), stdout=PIPE, stderr=STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
