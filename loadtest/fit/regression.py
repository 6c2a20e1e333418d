"""The one regression that all linear fits use, and the errors they report. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Vector = NDArray[np.float64]


def fit_relative(columns: Sequence[Sequence[float]], values: Sequence[float]) -> Vector:
    """Coefficients >= 0 of the least sum of squared *relative* errors.

    Args:
        columns: One sequence per coefficient.
        values: What they are to add up to, all positive.
    """
    targets = np.asarray(values, dtype=np.float64)
    design = np.asarray(columns, dtype=np.float64).T / targets[:, None]
    # Columns differ by ten orders of magnitude; equal norms keep the active set stable.
    norms = np.linalg.norm(design, axis=0)
    norms[norms == 0.0] = 1.0
    solution: Vector = nnls(design / norms, np.ones_like(targets))[0] / norms
    return solution


def predict(columns: Sequence[Sequence[float]], coefficients: Sequence[float] | Vector) -> Vector:
    """What the coefficients say."""
    result: Vector = np.asarray(columns, dtype=np.float64).T @ np.asarray(coefficients)
    return result


def relative_errors(predicted: Sequence[float] | Vector, values: Sequence[float]) -> list[float]:
    """Absolute relative errors, one by one."""
    return [abs(float(guess) / value - 1.0) for guess, value in zip(predicted, values, strict=True)]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return float(sum(values)) / len(values)
