"""The load tools that people use, through Envoy and the router against real vLLMs."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest

from tests.unit.test_project import ROOT

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]
MODEL = "tiny"


async def run(*arguments, **environment):
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments), stdout=PIPE, stderr=STDOUT, **environment
    )
    said = (await process.communicate())[0].decode()
    return process.returncode, said


async def test_vllm_bench_serve(lane, vllm_venv, tiny_model, tmp_path):
    code, said = await run(
        vllm_venv / "bin" / "vllm",
        *("bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions"),
        *("--base-url", lane.base_url, "--model", MODEL, "--tokenizer", tiny_model),
        *("--dataset-name", "random", "--random-input-len", 64, "--random-output-len", 16),
        *("--num-prompts", 24, "--max-concurrency", 6, "--seed", 1),
        *("--save-result", "--result-dir", tmp_path, "--result-filename", "result.json"),
    )
    assert code == 0, said
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["completed"] == 24
    assert result["total_output_tokens"] > 24
    assert result["mean_ttft_ms"] > 0


@pytest.mark.parametrize("options", [(), ("--plain",)], ids=["streamed", "whole"])
async def test_locust(lane, options):
    code, said = await run(
        sys.executable,
        *("-m", "locust", "-f", ROOT / "loadtest/locust/openai_chat.py", "--headless"),
        *("--host", lane.base_url, "--models", MODEL, "--run-seconds", 5, "--most-users", 4),
        *(
            "--most-prompt-tokens",
            2000,
            "--most-output-tokens",
            16,
            "--failed-ratio",
            0,
            "--json",
            "--skip-log",
            *options,
        ),
    )
    assert code == 0, said
    figures = json.loads(said[said.index("[") : said.rindex("]") + 1])
    assert sum(row["num_requests"] for row in figures) > 4


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_curl(lane, stream):
    body = {"model": MODEL, "prompt": "the mill grinds", "max_tokens": 8, "stream": stream}
    code, said = await run(
        *("curl", "--silent", "--show-error", "--no-buffer", "--fail-with-body"),
        *("--header", "content-type: application/json", "--data", json.dumps(body)),
        f"{lane.base_url}/v1/completions",
    )
    assert code == 0, said
    if stream:
        assert said.rstrip().endswith("data: [DONE]")
    else:
        assert json.loads(said)["usage"]["completion_tokens"] == 8
