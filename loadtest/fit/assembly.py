"""Puts the parameter files together, one accelerator after the other. Pure."""

from collections.abc import Callable

import msgspec

from loadtest.fit import declared
from loadtest.fit.calibration import LARGEST_BATCH, Host, fit_host
from loadtest.fit.clocks import SweepFit, energy_transfer_error, fit_sweep
from loadtest.fit.configurations import configuration, small_configuration
from loadtest.fit.operators import Operators, operators_of
from loadtest.fit.power import fit_activity
from loadtest.fit.regression import mean
from loadtest.fit.setting import Setting
from loadtest.fit.sources import CLOCK_FILES, OPERATORS_FILE, RUNS_FILE, Data
from loadtest.models import CLOCKS, file_name
from loadtest.models.schema import (
    SCHEMA,
    AcceleratorFile,
    Activity,
    Calibration,
    ClockFile,
    Response,
    Sweep,
)

Progress = Callable[[str], None]
"""Told of every piece of work before it is done."""

_UNUSED = (
    "not used: small models on B200 are bound by the host and not monotone in the batch; "
    "the measured tables are taken as they are"
)

# Accelerators with runs of their own, which their calibration is fitted to.
_CALIBRATED = ("H100", "B200")


def fit_accelerators(data: Data, progress: Progress) -> dict[str, AcceleratorFile]:
    """Fit every accelerator: short name -> parameters."""
    operators = {}
    for accelerator in declared.PARALLELISMS:
        progress(f"{accelerator}: operator times")
        operators[accelerator] = _operators(data, accelerator)
    hosts = {}
    for accelerator in _CALIBRATED:
        progress(f"{accelerator}: engine calibration")
        runs = [run for run in data.runs if run.gpu == accelerator]
        hosts[accelerator] = fit_host(runs, operators[accelerator])
    return {
        accelerator: _accelerator(data, accelerator, operators[accelerator], hosts, progress)
        for accelerator in declared.PARALLELISMS
    }


def fit_clocks(data: Data, progress: Progress) -> ClockFile:
    """Fit the clock response."""
    sweeps = {}
    for workload, passes in data.sweeps.items():
        progress(f"clocks: {workload}")
        sweeps[workload] = fit_sweep(passes)
    return ClockFile(
        schema=SCHEMA,
        response=_response(data, sweeps),
        sweeps=tuple(_sweep(data, workload, sweep) for workload, sweep in sweeps.items()),
    )


def _operators(data: Data, accelerator: str) -> dict[str, Operators]:
    names = {one.operators for one in declared.CALIBRATION_MODELS.values()}
    names |= {one.operators for one in declared.ARCHITECTURES.values()}
    gpu = declared.OPERATOR_GPUS[accelerator]
    return {name: operators_of(data.operators, gpu=gpu, model=name) for name in sorted(names)}


def _accelerator(
    data: Data,
    accelerator: str,
    operators: dict[str, Operators],
    hosts: dict[str, Host],
    progress: Progress,
) -> AcceleratorFile:
    own = accelerator in hosts
    host = hosts[accelerator if own else "H100"]
    why = () if own else ("the engine calibration is the H100's: no runs on this accelerator",)
    setting = Setting(
        accelerator=accelerator,
        data=data,
        operators=operators,
        host=host,
        host_assumption=why,
        max_clock_hz=declared.BOARDS[accelerator].max_clock_hz,
    )
    configurations = []
    for model, parallelisms in declared.PARALLELISMS[accelerator].items():
        for gpus in parallelisms:
            progress(f"{accelerator}: {model} on {gpus}")
            configurations.append(configuration(setting, model, gpus=gpus))
        if model == declared.LLAMA_8B:
            configurations.append(small_configuration(setting, configurations[-1]))
    return AcceleratorFile(
        schema=SCHEMA,
        accelerator=accelerator,
        board=declared.BOARDS[accelerator],
        calibration=_calibration(data, host, why if accelerator != "B200" else (_UNUSED,)),
        activity=_activity(data, accelerator) if own else None,
        configurations=tuple(configurations),
    )


def _calibration(data: Data, host: Host, assumed: tuple[str, ...]) -> Calibration:
    return Calibration(
        method=(
            "decode and mean steps of dense ML.ENERGY v3 runs on one board over composed "
            "operators, least relative squares; then tau on tensor-parallel runs"
        ),
        sources=(data.files[RUNS_FILE], data.files[OPERATORS_FILE]),
        errors=host.errors,
        valid={"batch": (8.0, float(LARGEST_BATCH))},
        assumed=(
            *assumed,
            "prompts of 120 (chat) and 250 (gpqa) tokens per v3 request: not published per run",
            "delta grows with the vocabulary: seen on two of them, 128 256 and 151 936",
        ),
        alpha_seconds=host.alpha,
        gamma=host.gamma,
        delta_seconds_per_logit=host.delta,
        kappa=host.kappa,
        tau_seconds_per_layer=host.tau,
    )


def _activity(data: Data, accelerator: str) -> Activity:
    law = fit_activity([run for run in data.runs if run.gpu == accelerator])
    return Activity(
        method="P0 + e_b * bytes/s + e_f * FLOP/s per board, dense runs, least relative squares",
        sources=(data.files[RUNS_FILE],),
        errors=law.errors,
        assumed=("prompts of 120 (chat) and 250 (gpqa) tokens per v3 request",),
        floor_watts=law.floor,
        watts_per_byte_rate=law.per_byte_rate,
        watts_per_flop_rate=law.per_flop_rate,
    )


def _sweep(data: Data, workload: str, sweep: SweepFit) -> Sweep:
    return Sweep(
        method="forward passes, per stage by least relative squares, median over the stages",
        sources=(data.files[CLOCK_FILES[workload]],),
        errors=sweep.errors,
        valid={"clock_hz": sweep.clocks},
        workload=workload,
        max_clock_hz=sweep.max_clock,
        phi=sweep.phi,
        static_watts=sweep.static,
        dynamic_watts=sweep.dynamic,
        voltage_floor=sweep.voltage_floor,
        voltage_slope=sweep.voltage_slope,
        knee_hz=sweep.knee,
        energy_optimal_hz=sweep.optimal,
        energy_optimal_ratio=sweep.optimal_energy,
        energy_optimal_time_ratio=sweep.optimal_time,
    )


def _response(data: Data, sweeps: dict[str, SweepFit]) -> Response:
    fits = list(sweeps.values())
    errors = {
        f"leave_one_workload_out {left_out}, energy": mean(
            [
                energy_transfer_error(fit, data.sweeps[left_out])
                for workload, fit in sweeps.items()
                if workload != left_out
            ]
        )
        for left_out in sweeps
    }
    floor = mean([fit.voltage_floor for fit in fits])
    slope = mean([fit.voltage_slope for fit in fits])
    lowest = max(fit.clocks[0] / fit.max_clock for fit in fits)
    return Response(
        method="prefill: mean of the sweeps; decode: declared",
        sources=tuple(data.files[name] for name in CLOCK_FILES.values()),
        errors=errors,
        valid={
            "clock_ratio": (lowest, 1.0),
            "decode_phi": declared.DECODE_PHI_RANGE,
            "decode_core_share": declared.DECODE_CORE_SHARE_RANGE,
        },
        assumed=(
            declared.DECODE_CLOCK_REASON,
            declared.OTHER_BOARDS_REASON,
            declared.IDLE_CLOCK_REASON,
        ),
        prefill_phi=mean([fit.phi for fit in fits]),
        decode_phi=declared.DECODE_PHI,
        decode_core_share=declared.DECODE_CORE_SHARE,
        static_ratio=mean([fit.static_ratio for fit in fits]),
        voltage_floor=floor,
        voltage_slope=slope,
        knee_ratio=1.0 - (1.0 - floor) / slope,
    )


def all_files(data: Data, progress: Progress) -> dict[str, msgspec.Struct]:
    """Every parameter file by its name in the folder."""
    accelerators = fit_accelerators(data, progress)
    return {
        **{file_name(name): content for name, content in accelerators.items()},
        CLOCKS: fit_clocks(data, progress),
    }
