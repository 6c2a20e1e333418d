"""The simulated hardware is what its sources say: measured points, checked against the files."""

import csv
import os
from pathlib import Path

import pytest

from loadtest.models import accelerator_file
from loadtest.truth import accelerators, models, parallelisms, truth_of

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


MEASURED = [
    ("H100", "llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", 1),
    ("H100", "qwen3-32b", "Qwen/Qwen3-32B", 2),
    ("H100", "qwen3-32b", "Qwen/Qwen3-32B", 1),
    ("H100", "llama-3.1-70b", "meta-llama/Llama-3.1-70B-Instruct", 4),
    ("B200", "llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", 1),
    ("B200", "qwen3-32b", "Qwen/Qwen3-32B", 1),
    ("B200", "llama-3.1-70b", "meta-llama/Llama-3.1-70B-Instruct", 2),
]


@pytest.mark.parametrize(("accelerator", "model", "run_model", "gpus"), MEASURED)
def test_step_times_and_watts_are_those_of_the_mlenergy_runs(accelerator, model, run_model, gpus):
    truth = truth_of(accelerator, model, gpus=gpus)
    runs = [
        row
        for row in rows(RUNS)
        if (row["model"], row["gpu"], row["num_gpus"]) == (run_model, accelerator, str(gpus))
        and row["task"] == "lm-arena-chat"
        and int(row["max_num_seqs"]) <= 512
        and float(row["avg_batch"]) > 0.98 * int(row["max_num_seqs"])
    ]
    assert len(runs) >= 2
    for row in runs:
        batch = int(row["max_num_seqs"])
        assert reference_step_ms(truth, batch) == pytest.approx(float(row["itl_med_ms"]), abs=0.01)
        watts = truth.decode_watts_by_batch[batch]
        assert watts == pytest.approx(float(row["power_w"]), abs=0.1 * gpus)


@pytest.mark.parametrize(
    ("accelerator", "gpu"), [("A100", "a100_sxm"), ("H200", "h200_sxm"), ("L40S", "l40s")]
)
def test_composed_step_times_are_the_operator_times_plus_the_host_calibration(accelerator, gpu):
    truth, host = truth_of(accelerator), accelerator_file("H100").calibration
    points = [
        (int(row["batch"]), float(row["ms"]))
        for row in rows(OPS)
        if (row["gpu"], row["model"], row["phase"]) == (gpu, "Llama-3.1-8B", "decode")
        and row["tokens"] == "256"
        and int(row["batch"]) not in {2, 4}  # flat there: not in the table
    ]
    assert len(points) == 11
    host_ms = 1e3 * host.delta_seconds_per_logit * 128_256
    for batch, ops_ms in points:
        engine_ms = 1e3 * host.alpha_seconds + host.gamma * ops_ms + host_ms * batch
        assert reference_step_ms(truth, batch) == pytest.approx(engine_ms, abs=0.02)


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


def test_a_replica_of_several_boards_draws_what_they_draw_together():
    one, four = truth_of("H100"), truth_of("H100", "llama-3.1-70b")
    assert (one.gpus, four.gpus) == (1, 4)
    assert four.idle_watts == pytest.approx(4 * one.idle_watts)
    assert four.prefill_watts == pytest.approx(4 * one.prefill_watts)
    assert four.clock_response.static_watts == pytest.approx(4 * one.clock_response.static_watts)


def test_the_fleet_of_70b_replicas_can_be_built():
    for accelerator, gpus in (("H100", 4), ("B200", 2), ("A100", 8)):
        assert truth_of(accelerator, "llama-3.1-70b").gpus == gpus
        assert truth_of(accelerator, "llama-3.1-70b", gpus=gpus).kv_capacity_tokens > 400_000


def test_every_model_runs_on_every_accelerator_and_the_first_parallelism_is_the_default():
    for accelerator in accelerators():
        for model in models():
            assert truth_of(accelerator, model).gpus == parallelisms(accelerator, model)[0]
    assert parallelisms("H100", "qwen3-32b") == (2, 1)


def test_an_unknown_number_of_boards_is_refused_with_the_known_ones():
    with pytest.raises(KeyError, match="gpus is not one of 2, 1"):
        truth_of("H100", "qwen3-32b", gpus=3)
