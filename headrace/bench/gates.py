"""Whether the simulated hardware is good enough to claim anything with. Pure.

The errors are those that the committed parameter files tell; `headrace fit --check` and the tests
hold the files to the data.
"""

from collections.abc import Iterator, Mapping

from headrace.bench.targets import Target
from loadtest.models import accelerator_file
from loadtest.models.schema import AcceleratorFile

_STEP_RATIO = 0.05
_JOULES_RATIO = 0.03
_MODEL_RATIO = 0.10
_POINT = "leave_one_point_out"
_MODEL = "leave_one_model_out"


def gates() -> Iterator[Target]:
    """The validation gates; the H100's must be kept, the B200's are told as they are."""
    for accelerator in ("H100", "B200"):
        parameters = accelerator_file(accelerator)
        yield from _held_out(accelerator, parameters)
        yield _gate(
            f"{accelerator}: step time of a model left out of the calibration",
            _models_left_out(parameters.calibration.errors),
            _MODEL_RATIO,
            why="the runs of small models on B200 are bound by the host; this calibration is "
            "not used, measured tables are",
        )
        if parameters.activity is not None:
            name = f"{_MODEL} mean"
            yield _gate(
                f"{accelerator}: watts of a model left out of the activity law, mean",
                {name: parameters.activity.errors[name]},
                _MODEL_RATIO,
            )


def _held_out(accelerator: str, parameters: AcceleratorFile) -> Iterator[Target]:
    """Each inner point of each measured configuration, foretold from the others."""
    measured = [one for one in parameters.configurations if _POINT in one.step.errors]
    why = "Llama-3.1-8B on B200 is not monotone in the batch: nothing between its points holds"
    yield _gate(
        f"{accelerator}: step time of a held-out batch",
        {f"{one.model} on {one.gpus}": one.step.errors[_POINT] for one in measured},
        _STEP_RATIO,
        why=why,
    )
    yield _gate(
        f"{accelerator}: joules per step of a held-out batch",
        {
            f"{one.model} on {one.gpus}": one.power.errors[f"{_POINT}, joules per step"]
            for one in measured
        },
        _JOULES_RATIO,
        why=why,
    )


def _models_left_out(errors: Mapping[str, float]) -> dict[str, float]:
    return {name: error for name, error in errors.items() if name.startswith(_MODEL)}


def _gate(claim: str, errors: Mapping[str, float], most_ratio: float, *, why: str = "") -> Target:
    worst = max(errors, key=lambda name: errors[name])
    met = errors[worst] <= most_ratio
    return Target(
        claim=f"{claim} within {most_ratio:.0%}",
        measured=f"{errors[worst]:.1%} at worst ({worst}), {len(errors)} cases",
        met=met,
        why="" if met else why,
    )
