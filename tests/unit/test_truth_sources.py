"""The simulated hardware is what its sources say: measured points, checked against the files."""

import csv
import os
from pathlib import Path

import pytest

from loadtest.truth import truth_of

DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[3] / "shared" / "data")
RUNS = DATA / "power" / "mlenergy-v3" / "llm_runs.csv"
OPS = DATA / "power" / "vllm-iteration-ms" / "iteration_ms.csv"


def rows(path):
    if not path.exists():
        pytest.skip(f"the tables are NOT compared with their source: no {path} (set HEADRACE_DATA)")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def reference_step_ms(truth, batch):
    kv_tokens = batch * truth.reference_context_tokens
    return truth.step_seconds(batch, kv_tokens=kv_tokens) * 1e3


@pytest.mark.parametrize("accelerator", ["H100", "B200"])
def test_step_times_and_watts_are_those_of_the_mlenergy_runs(accelerator):
    truth = truth_of(accelerator)
    runs = [
        row
        for row in rows(RUNS)
        if row["model"] == "meta-llama/Llama-3.1-8B-Instruct"
        and row["task"] == "lm-arena-chat"
        and row["gpu"] == accelerator
        and int(row["max_num_seqs"]) <= 512
    ]
    assert len(runs) >= 7
    for row in runs:
        batch = int(row["max_num_seqs"])
        assert reference_step_ms(truth, batch) == pytest.approx(float(row["itl_med_ms"]), abs=0.01)
        watts = truth.decode_watts_by_batch[batch]
        assert watts == pytest.approx(float(row["power_w"]), abs=0.1)


@pytest.mark.parametrize(
    ("accelerator", "gpu"), [("A100", "a100_sxm"), ("H200", "h200_sxm"), ("L40S", "l40s")]
)
def test_composed_step_times_are_the_operator_times_plus_the_host_calibration(accelerator, gpu):
    truth = truth_of(accelerator)
    points = [
        (int(row["batch"]), float(row["ms"]))
        for row in rows(OPS)
        if (row["gpu"], row["model"], row["phase"]) == (gpu, "Llama-3.1-8B", "decode")
        and row["tokens"] == "256"
        and int(row["batch"]) not in {2, 4}  # flat there: not in the table
    ]
    assert len(points) == 11
    for batch, ops_ms in points:
        engine_ms = 0.74 + 1.01 * ops_ms + 0.0684 * batch
        assert reference_step_ms(truth, batch) == pytest.approx(engine_ms, abs=0.01)


@pytest.mark.parametrize(
    ("accelerator", "gpu"),
    [
        ("A100", "a100_sxm"),
        ("H100", "h100_sxm"),
        ("H200", "h200_sxm"),
        ("B200", "b200_sxm"),
        ("L40S", "l40s"),
    ],
)
def test_a_prompt_of_2048_tokens_takes_what_the_operators_take_within_a_fifth(accelerator, gpu):
    truth = truth_of(accelerator)
    step_seconds = truth.step_seconds(0, kv_tokens=0) + truth.chunk_seconds(
        done_tokens=0, new_tokens=2048
    )
    (ops_ms,) = (
        float(row["ms"])
        for row in rows(OPS)
        if (row["gpu"], row["model"], row["phase"]) == (gpu, "Llama-3.1-8B", "prefill")
        and row["tokens"] == "2048"
    )
    assert step_seconds * 1e3 == pytest.approx(ops_ms, rel=0.2)
