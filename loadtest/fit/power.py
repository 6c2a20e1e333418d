"""Decode power: a logistic per configuration, and the activity law for models without one. Pure.

Forms and what they are good for: facts/simulation.md 2.2.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from loadtest.fit.calibration import context_tokens
from loadtest.fit.declared import ACTIVITY_MODELS, PROMPT_TOKENS, Architecture
from loadtest.fit.regression import Vector, fit_relative, mean, predict, relative_errors
from loadtest.fit.sources import Run
from loadtest.models.schema import Logistic
from loadtest.models.tables import Points

# Four parameters need more points than that to mean anything.
_LOGISTIC_POINTS = 6

# Where the search starts (steepness, midpoint in log2 batch); the best of all is kept.
_STARTS = tuple((steepness, middle) for steepness in (0.7, 1.2, 2.5) for middle in (4.5, 6.0, 7.0))
_LOWER = (0.0, 1.0, 0.05, 0.0)
_UPPER = (1500.0, 800.0, 8.0, 12.0)


def logistic_watts(curve: Logistic, batch: float) -> float:
    """Watts of one board."""
    exponent = -curve.steepness * (math.log2(batch) - curve.midpoint_log2)
    return curve.floor_watts + curve.span_watts / (1.0 + math.exp(exponent))


def fit_logistic(points: Points) -> Logistic | None:
    """The curve of the least relative error; None where four parameters say too much.

    That is for fewer than six points, and where power falls with the batch by more than a tenth:
    then there is no curve to find.
    """
    watts = [value for _, value in points]
    falls = any(later < 0.9 * max(watts[: i + 1]) for i, later in enumerate(watts))
    if len(points) < _LOGISTIC_POINTS or falls:
        return None
    return _searched(points)


def logistic_errors(points: Points, curve: Logistic) -> list[float]:
    """Relative errors at its own points."""
    return relative_errors(
        [logistic_watts(curve, batch) for batch, _ in points], [watts for _, watts in points]
    )


def searched_watts(points: Points, batch: float) -> float:
    """What a logistic through `points` says of another batch."""
    return logistic_watts(_searched(points), batch)


def _searched(points: Points) -> Logistic:
    logs = np.log2([batch for batch, _ in points])
    watts = np.asarray([value for _, value in points])

    def residuals(found: Vector) -> Vector:
        floor, span, steepness, middle = found
        curve: Vector = floor + span / (1.0 + np.exp(-steepness * (logs - middle)))
        curve /= watts
        return curve - 1.0

    span = float(watts.max() - watts.min()) + 1.0
    solutions = [
        least_squares(
            residuals,
            (float(watts.min()), span, *start),
            bounds=(_LOWER, _UPPER),
            x_scale=(100.0, 100.0, 1.0, 1.0),
        )
        for start in _STARTS
    ]
    best = min(solutions, key=lambda solution: round(float(solution.cost), 9))
    floor, span, steepness, middle = map(float, best.x)
    return Logistic(floor_watts=floor, span_watts=span, steepness=steepness, midpoint_log2=middle)


class ActivityLaw(NamedTuple):
    """Watts of one board: floor + byte gain * bytes/s + flop gain * FLOP/s.

    Attributes:
        floor: W.
        per_byte_rate: W per (byte/s).
        per_flop_rate: W per (FLOP/s).
        errors: Ratio by what was left out.
    """

    floor: float
    per_byte_rate: float
    per_flop_rate: float
    errors: dict[str, float]

    def watts(self, byte_rate: float, flop_rate: float) -> float:
        """Of one board that reads and computes at these rates."""
        return self.floor + self.per_byte_rate * byte_rate + self.per_flop_rate * flop_rate


def decode_rates(
    architecture: Architecture, *, batch: float, context: float, seconds: float, gpus: int
) -> tuple[float, float]:
    """Bytes and FLOP per second of one board in a step that only decodes."""
    read_bytes = architecture.weights_bytes + batch * context * architecture.kv_bytes_per_token
    flop = 2.0 * architecture.parameters * batch
    return read_bytes / seconds / gpus, flop / seconds / gpus


def fit_activity(runs: Sequence[Run]) -> ActivityLaw:
    """Fit the dense runs of one accelerator, over all batches."""
    dense = [run for run in runs if run.model in ACTIVITY_MODELS and run.task in PROMPT_TOKENS]
    found = _fit_activity(dense)
    errors = {"in_sample": mean(_activity_errors(dense, found))}
    for model in sorted(ACTIVITY_MODELS):
        rest = [run for run in dense if run.model != model]
        mine = [run for run in dense if run.model == model]
        errors[f"leave_one_model_out {model}"] = mean(_activity_errors(mine, _fit_activity(rest)))
    errors["leave_one_model_out mean"] = mean(
        [value for name, value in errors.items() if name.startswith("leave")]
    )
    floor, per_byte_rate, per_flop_rate = map(float, found)
    return ActivityLaw(floor, per_byte_rate, per_flop_rate, errors)


def _activity_columns(runs: Sequence[Run]) -> list[list[float]]:
    columns = [_activity_row(run) for run in runs]
    return [list(column) for column in zip(*columns, strict=True)]


def _activity_row(run: Run) -> tuple[float, float, float]:
    architecture = ACTIVITY_MODELS[run.model]
    byte_rate, flop_rate = decode_rates(
        architecture,
        batch=run.batch,
        context=context_tokens(run),
        seconds=run.step_seconds,
        gpus=run.gpus,
    )
    prompts = 1.0 + PROMPT_TOKENS[run.task] / run.answer_tokens
    return 1.0, byte_rate, flop_rate * prompts


def _fit_activity(runs: Sequence[Run]) -> Vector:
    return fit_relative(_activity_columns(runs), [run.watts / run.gpus for run in runs])


def _activity_errors(runs: Sequence[Run], found: Vector) -> list[float]:
    predicted = predict(_activity_columns(runs), found)
    return relative_errors(predicted, [run.watts / run.gpus for run in runs])
