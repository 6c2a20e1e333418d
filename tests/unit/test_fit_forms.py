"""The regressions find the parameters that made the numbers."""

import math

import pytest

from loadtest.fit.clocks import energy_transfer_error, fit_sweep
from loadtest.fit.declared import ARCHITECTURES, LLAMA_8B
from loadtest.fit.leave_out import (
    left_out_energy_errors,
    left_out_errors,
    line_errors,
    line_through,
    power_table,
    step_line,
    step_table,
)
from loadtest.fit.operators import operators_of
from loadtest.fit.power import decode_rates, fit_logistic, logistic_errors, logistic_watts
from loadtest.fit.regression import fit_relative, predict, relative_errors
from loadtest.fit.sources import OperatorTime, Pass
from loadtest.models.schema import Logistic
from loadtest.models.tables import step_seconds_at, watts_at

BATCHES = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


def test_exact_numbers_give_their_coefficients_whatever_their_scale():
    columns = ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1e6, 5e6, 2e6, 9e6])
    values = [3.0 + 0.5 * n + 2e-7 * kv for _, n, kv in zip(*columns, strict=True)]
    found = fit_relative(columns, values)
    assert found == pytest.approx([3.0, 0.5, 2e-7])
    assert max(relative_errors(predict(columns, found), values)) < 1e-9


def test_no_coefficient_is_negative():
    found = fit_relative(([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), [3.0, 2.0, 1.0])
    assert min(found) == 0.0


def test_relative_errors_weigh_small_values_as_much_as_large_ones():
    [middle] = fit_relative(([1.0, 1.0],), [1.0, 1000.0])
    assert middle < 3.0


def operator_rows():
    decodes = [
        OperatorTime("gpu", "m", "decode", b, c, 5e-3 + 1e-5 * b + 4e-8 * b * c)
        for b in (1, 8, 64, 256, 512)
        for c in (256, 1024, 4096)
    ]
    prompts = [
        OperatorTime("gpu", "m", "prefill", 1, n, 4e-3 + 1e-5 * n + 1e-9 * n * n)
        for n in (128, 1024, 8192)
    ]
    return [*decodes, *prompts, OperatorTime("other", "m", "decode", 1, 256, 9.0)]


def test_the_closed_forms_of_operators_are_found_again():
    operators = operators_of(operator_rows(), gpu="gpu", model="m")
    assert operators.decode[:3] == pytest.approx((5e-3, 1e-5, 4e-8))
    assert operators.prefill[:3] == pytest.approx((4e-3, 1e-5, 1e-9))
    assert operators.decode.error_ratio < 1e-9
    assert operators.prefill.seconds(100) == pytest.approx(1e-3 + 1e-5)
    between = operators.decode_seconds(36, 640)
    assert between == pytest.approx(5e-3 + 1e-5 * 36 + 4e-8 * 36 * 640)


def test_a_logistic_is_found_again():
    truth = Logistic(floor_watts=470.0, span_watts=220.0, steepness=1.2, midpoint_log2=5.5)
    points = [(batch, logistic_watts(truth, batch)) for batch in BATCHES]
    found = fit_logistic(points)
    assert found is not None
    assert max(logistic_errors(points, found)) < 1e-3
    assert logistic_watts(found, 48.0) == pytest.approx(logistic_watts(truth, 48.0), rel=1e-3)


def test_no_logistic_is_drawn_through_few_points_or_falling_ones():
    assert fit_logistic([(batch, 400.0 + batch) for batch in BATCHES[:5]]) is None
    assert fit_logistic([(batch, 700.0 - 0.5 * batch) for batch in BATCHES]) is None


def test_a_line_is_foretold_exactly_and_a_bent_one_is_not():
    straight = [(batch, 0.006 + 8e-5 * batch) for batch in BATCHES]
    assert line_through(straight) == pytest.approx((0.006, 8e-5))
    assert max(line_errors(straight)) < 1e-9
    assert max(left_out_errors(straight, step_table)) < 1e-9
    assert max(left_out_errors(straight, step_line)) < 1e-9
    bent = [(batch, 0.006 * math.sqrt(batch)) for batch in BATCHES]
    assert min(left_out_errors(bent, step_table)) > 0.05


def test_only_inner_points_are_left_out():
    points = [(batch, 400.0 + batch) for batch in BATCHES]
    assert len(left_out_errors(points, power_table)) == len(BATCHES) - 2
    assert len(left_out_energy_errors(points, points)) == len(BATCHES) - 2


def test_joules_err_by_both_their_factors():
    straight = [(batch, 0.006 + 8e-5 * batch) for batch in BATCHES]
    flat = [(batch, 500.0) for batch in BATCHES]
    assert max(left_out_energy_errors(straight, flat)) < 1e-9
    bumped = [(batch, 550.0 if batch == 64.0 else 500.0) for batch in BATCHES]
    assert max(left_out_energy_errors(straight, bumped)) == pytest.approx(1.0 - 500.0 / 550.0)


def test_tables_go_on_at_their_edges_as_they_say():
    points = [(8.0, 10.0), (16.0, 12.0), (32.0, 20.0)]
    assert step_seconds_at(points, 4.0, slope_above=1.0) == pytest.approx(9.0)
    assert step_seconds_at(points, 24.0, slope_above=1.0) == pytest.approx(16.0)
    assert step_seconds_at(points, 40.0, slope_above=1.0) == pytest.approx(28.0)
    assert watts_at(points, 1.0) == 10.0
    assert watts_at(points, 512.0) == 20.0
    assert watts_at(points, math.sqrt(8.0 * 16.0)) == pytest.approx(11.0)


def test_a_decode_step_reads_weights_and_cache_and_computes_twice_the_weights_per_token():
    bytes_rate, flop_rate = decode_rates(
        ARCHITECTURES[LLAMA_8B], batch=10, context=100, seconds=0.01, gpus=2
    )
    assert bytes_rate == pytest.approx((2 * 8.03e9 + 1000 * 131_072) / 0.02)
    assert flop_rate == pytest.approx(2 * 8.03e9 * 10 / 0.02)


def sweep(*, phi, static, dynamic, floor, slope):
    passes = []
    for stage in (0, 1):
        for megahertz in range(855, 1411, 15):
            ratio = megahertz / 1410
            voltage = max(floor, 1.0 - slope * (1.0 - ratio))
            seconds = (1.0 + stage) * (1.0 - phi + phi / ratio)
            joules = seconds * (static + dynamic * ratio * voltage**2)
            passes.append(Pass(stage, megahertz * 1e6, seconds, joules))
    return passes


def test_a_clock_sweep_is_found_again():
    found = fit_sweep(sweep(phi=0.9, static=45.0, dynamic=450.0, floor=0.82, slope=0.8))
    assert found.phi == pytest.approx(0.9)
    assert found.static == pytest.approx(45.0, abs=1.0)
    assert found.voltage_floor == pytest.approx(0.82, abs=0.01)
    assert found.knee == pytest.approx(1410e6 * (1 - 0.18 / 0.8), rel=0.01)
    assert found.optimal == pytest.approx(found.knee, abs=15e6)
    assert found.optimal_energy < 0.8
    assert max(found.errors.values()) < 1e-3


def test_a_sweep_foretells_another_only_where_they_are_alike():
    one = sweep(phi=0.9, static=45.0, dynamic=450.0, floor=0.82, slope=0.8)
    other = sweep(phi=0.2, static=200.0, dynamic=100.0, floor=0.95, slope=0.8)
    assert energy_transfer_error(fit_sweep(one), one) < 1e-3
    assert energy_transfer_error(fit_sweep(one), other) > 0.05
