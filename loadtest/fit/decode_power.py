"""Decode power of one configuration: measured where ML.ENERGY ran it, else assumed. Pure."""

from operator import mul

from loadtest.fit import declared, power
from loadtest.fit.calibration import LARGEST_BATCH
from loadtest.fit.declared import Architecture
from loadtest.fit.leave_out import (
    left_out_energy_errors,
    left_out_errors,
    power_table,
    step_table,
)
from loadtest.fit.regression import mean, relative_errors
from loadtest.fit.setting import (
    CHAT,
    WATTS_DIGITS,
    Setting,
    held_out_runs,
    predicted_step_seconds,
    step_points,
    watt_points,
)
from loadtest.fit.sources import RUNS_FILE, Run
from loadtest.models.schema import Power, Step


def measured_power(
    setting: Setting, architecture: Architecture, runs: list[Run], step: Step
) -> Power:
    """Watts as ML.ENERGY measured them; `runs` by rising batch."""
    points = watt_points(runs)
    curve = power.fit_logistic(points)
    left_out = left_out_errors(points, power_table)
    joules = left_out_energy_errors(step_points(runs), points)
    errors = {
        "leave_one_point_out": mean(left_out),
        "leave_one_point_out largest": max(left_out),
        "leave_one_point_out, joules per step": mean(joules),
        "leave_one_point_out, joules per step, largest": max(joules),
    }
    if curve is not None:
        errors["logistic in_sample"] = mean(power.logistic_errors(points, curve))
        errors["logistic leave_one_point_out"] = mean(left_out_errors(points, power.searched_watts))
    for name, foreign in held_out_runs(setting, architecture, runs).items():
        watts = [run.watts / run.gpus for run in foreign]
        guesses = [power_table(points, run.batch) for run in foreign]
        errors[name] = mean(relative_errors(guesses, watts))
        errors[f"{name}, joules per step"] = mean(
            relative_errors(
                list(map(mul, guesses, predicted_step_seconds(step, foreign))),
                [run.decode_seconds * value for run, value in zip(foreign, watts, strict=True)],
            )
        )
    return Power(
        method=f"watts of ML.ENERGY v3 {CHAT} runs, linear in log2 batch between them",
        sources=(setting.data.files[RUNS_FILE],),
        errors=errors,
        valid={
            "batch": (runs[0].batch, runs[-1].batch),
            "clock_hz": (setting.max_clock_hz, setting.max_clock_hz),
        },
        assumed=(
            "prompts' share of the mean watts of a run is not taken out: it is a few per cent",
        ),
        points=points,
        logistic=curve,
    )


def assumed_power(setting: Setting, architecture: Architecture, step: Step, gpus: int) -> Power:
    """Watts of a configuration that has no runs."""
    clock = {"clock_hz": (setting.max_clock_hz, setting.max_clock_hz)}
    single = architecture is declared.ARCHITECTURES[declared.LLAMA_8B]
    if setting.accelerator == "L40S":
        return Power(
            method="assumed",
            valid=clock,
            assumed=(
                "watts: no data for L40S; 260-345 W, between what its context draws and its limit",
            ),
            points=declared.L40S_WATTS,
        )
    if setting.accelerator == "A100":
        return _a100_power(architecture, step, gpus, single=single)
    return _h200_power(setting, architecture, step, gpus, single=single)


def _a100_power(architecture: Architecture, step: Step, gpus: int, *, single: bool) -> Power:
    """Readings at small batches, the Argonne activity law where it is above them."""
    law = power.ActivityLaw(*declared.A100_ACTIVITY, errors={})
    floor = declared.A100_FLOOR_WATTS
    readings = declared.A100_READINGS if single else ((1.0, floor),)
    points = _law_points(
        law,
        architecture,
        step,
        gpus,
        batches=(32, 64, 128, 256, 512),
        least=floor,
        most=declared.BOARDS["A100"].limit_watts,
    )
    return Power(
        method="readings at small batches, from 32 requests the activity law",
        citations=(declared.POWERTRACE, declared.ARGONNE),
        errors={"activity law in_sample": 0.135, "activity law leave_one_model_out": 0.159},
        valid={"batch": (1.0, readings[-1][0]), "clock_hz": (1410e6, 1410e6)},
        assumed=(
            "watts from 32 requests: the Argonne law at these step times, held below the limit",
            *(() if single else ("289 W at one request: the reading of an 8B on one board",)),
        ),
        points=readings + points,
    )


def _h200_power(
    setting: Setting, architecture: Architecture, step: Step, gpus: int, *, single: bool
) -> Power:
    """The H100's curve where it served the same model on as many boards, else its activity law."""
    h100 = [run for run in setting.data.runs if run.gpu == "H100"]
    if single:
        runs = [
            run
            for run in h100
            if (run.model, run.gpus, run.task) == (architecture.run, gpus, CHAT)
            and run.batch <= LARGEST_BATCH
        ]
        return Power(
            method="the H100's watts",
            sources=(setting.data.files[RUNS_FILE],),
            valid={"clock_hz": (setting.max_clock_hz, setting.max_clock_hz)},
            assumed=("watts: no data for H200; those of the H100 with the same model",),
            points=watt_points(runs),
        )
    law = power.fit_activity(h100)
    return Power(
        method="the H100's activity law at these step times",
        sources=(setting.data.files[RUNS_FILE],),
        errors={"activity law leave_one_model_out on H100": law.errors["leave_one_model_out mean"]},
        valid={"clock_hz": (setting.max_clock_hz, setting.max_clock_hz)},
        assumed=("watts: no data for H200; the activity law of the H100",),
        points=_law_points(
            law,
            architecture,
            step,
            gpus,
            batches=(1, 8, 32, 64, 128, 256, 512),
            least=0.0,
            most=declared.BOARDS["H200"].limit_watts,
        ),
    )


def _law_points(
    law: power.ActivityLaw,
    architecture: Architecture,
    step: Step,
    gpus: int,
    *,
    batches: tuple[int, ...],
    least: float,
    most: float,
) -> tuple[tuple[float, float], ...]:
    """The activity law at the step's own times, never falling with the batch, up to a limit."""
    points: list[tuple[float, float]] = []
    for batch in batches:
        rates = power.decode_rates(
            architecture,
            batch=batch,
            context=step.reference_context_tokens,
            seconds=step_table(step.points, batch),
            gpus=gpus,
        )
        least = min(most, max(least, law.watts(*rates)))
        points.append((float(batch), round(least, WATTS_DIGITS)))
    return tuple(points)
