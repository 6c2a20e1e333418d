"""The promises that the fits must keep on the real data; skipped by name where there is none."""

import os
from pathlib import Path

import pytest

from loadtest.fit.assembly import fit_accelerators, fit_clocks
from loadtest.fit.sources import DataError, read_data

DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[3] / "shared" / "data")

STEP_GATE = 0.05
JOULES_GATE = 0.03
MODEL_GATE = 0.10


@pytest.fixture(scope="module")
def data():
    try:
        return read_data(DATA)
    except DataError as error:
        pytest.skip(f"the fits are NOT held to their gates: {error}")


@pytest.fixture(scope="module")
def fitted(data):
    return fit_accelerators(data, lambda _: None)


def measured(parameters):
    """Configurations with runs of their own."""
    return [one for one in parameters.configurations if "leave_one_point_out" in one.step.errors]


def test_held_out_h100_points_are_foretold_in_step_time_and_joules(fitted):
    """Each inner batch of each H100 configuration, foretold from the other batches."""
    configurations = measured(fitted["H100"])
    assert len(configurations) == 4
    for one in configurations:
        assert one.step.errors["leave_one_point_out"] <= STEP_GATE, one.model
        assert one.power.errors["leave_one_point_out, joules per step"] <= JOULES_GATE, one.model


def test_a_later_70b_that_no_table_saw_steps_as_foretold(fitted):
    """Llama-3.3-70B on four H100; its boards drew 4.6 % more, so joules miss the 3 %."""
    [one] = [one for one in measured(fitted["H100"]) if one.model == "llama-3.1-70b"]
    name = "held_out meta-llama/Llama-3.3-70B-Instruct"
    assert one.step.errors[name] <= STEP_GATE
    assert JOULES_GATE < one.power.errors[f"{name}, joules per step"] <= 0.05


def test_answers_of_thousands_of_tokens_are_beyond_what_the_tables_hold_for(fitted):
    """7.6 % in step time, 17 % in joules: told in the file and in the documentation."""
    one = next(one for one in measured(fitted["H100"]) if one.model == "qwen3-32b")
    assert STEP_GATE < one.step.errors["held_out gpqa"] <= 0.10
    assert one.power.errors["held_out gpqa, joules per step"] <= 0.20
    assert one.step.valid["kv_tokens_per_request"][1] < 1000


def test_every_model_left_out_of_the_h100_calibration_is_foretold(fitted):
    errors = fitted["H100"].calibration.errors
    left_out = {name: error for name, error in errors.items() if name.startswith("leave_one_model")}
    assert len(left_out) == 2 * (4 + 1)
    assert {name: error for name, error in left_out.items() if error > MODEL_GATE} == {}


def test_the_activity_law_is_within_its_gate_on_the_mean_of_the_models_left_out(fitted):
    """Llama-3.1-8B and the 70B alone are 12-14 % off on H100."""
    for accelerator in ("H100", "B200"):
        errors = fitted[accelerator].activity.errors
        assert errors["leave_one_model_out mean"] <= MODEL_GATE
        assert max(errors.values()) <= 0.15


def test_the_mixed_step_explains_the_mean_step_of_the_runs(fitted):
    """Median latency, prompts' operators and mixed steps add up to the throughput measured."""
    for one in measured(fitted["H100"]):
        with_mixed = one.step.errors["mean step in_sample"]
        assert with_mixed <= 0.025, one.model
        assert with_mixed < 0.5 * one.step.errors["mean step in_sample, without the mixed step"]


def test_the_b200_calibration_fails_and_says_that_it_is_not_used(fitted):
    calibration = fitted["B200"].calibration
    assert calibration.errors["in_sample, decode step"] > 0.25
    assert calibration.assumed[0].startswith("not used")
    assert all(
        one.step.sources[0].file.endswith("llm_runs.csv") for one in measured(fitted["B200"])
    )


def test_a_configuration_without_a_run_says_what_is_assumed(fitted):
    for accelerator in ("A100", "H200", "L40S"):
        assert fitted[accelerator].activity is None
        for one in fitted[accelerator].configurations:
            assert one.step.assumed, (accelerator, one.model)
            assert any("watts" in text for text in one.power.assumed), (accelerator, one.model)


def test_every_block_names_a_source_or_what_is_assumed(fitted):
    for parameters in fitted.values():
        blocks = [parameters.board, parameters.calibration]
        for one in parameters.configurations:
            blocks += [one.step, one.prefill, one.power]
        for block in blocks:
            assert block.method
            assert block.sources or block.citations or block.assumed
            assert all(len(source.sha256) == 64 for source in block.sources)


def test_the_clock_sweeps_are_fitted_to_a_hundredth_and_carry_over_to_the_other_workload(data):
    clocks = fit_clocks(data, lambda _: None)
    for sweep in clocks.sweeps:
        assert sweep.errors["in_sample time"] <= 0.01
        assert sweep.errors["in_sample power"] <= 0.01
        assert sweep.max_clock_hz == 1410e6
        assert 1050e6 < sweep.energy_optimal_hz < sweep.knee_hz < 1110e6
    assert all(error <= 0.05 for error in clocks.response.errors.values())
    assert any("decode phi" in text for text in clocks.response.assumed)


def test_a_later_run_of_the_same_data_gives_the_same_configuration(data, fitted):
    again = fit_accelerators(data, lambda _: None)
    assert again == fitted
