"""Regularised least squares of what a busy engine's second is spent on.

A busy engine spends every second decoding or computing prompts, so the shares that a prior
predicts for the observed tokens, each times its own correction, should sum to 1:

    g(batch) * decode_share + p * prompt_share = 1

with one g per doubling of the batch and one p. One observation cannot tell g from p; many with
different shares can. Until they do, three penalties decide: corrections stay near 1, near those of
the neighbouring batches, and p near the g's (an engine that decodes slower than believed probably
computes prompts slower too).
"""

import math

from fleet.batch_ratios import POINTS, BatchRatios, place_of

_SIZE = POINTS + 1  # the g's and p
_PROMPT = POINTS
# Penalties in the unit of the data: seconds of watching, times shares squared.
_NEAR_ONE = 0.1
_NEAR_NEIGHBOUR = 1.0
_PROMPT_NEAR_DECODE = 0.05
_WINDOW_SECONDS = 300.0
_MIN_RATIO = 0.25
_MAX_RATIO = 4.0


class StepFit:
    """The corrections of one backend; all start at 1."""

    __slots__ = ("_matrix", "_vector", "watched_seconds")

    def __init__(self) -> None:
        """Start from the penalties alone."""
        self._matrix = [[0.0] * _SIZE for _ in range(_SIZE)]
        self._vector = [0.0] * _SIZE
        self.watched_seconds = 0.0

    def add(
        self, *, batch: float, decode_share: float, prompt_share: float, seconds: float
    ) -> None:
        """Take in one busy interval.

        Args:
            batch: Mean running requests.
            decode_share: Part of a second that the prior needs for the observed output tokens.
            prompt_share: Likewise for the observed prompt tokens.
            seconds: Length of the interval, its weight.
        """
        fade = math.exp(-seconds / _WINDOW_SECONDS)
        for row in self._matrix:
            row[:] = [value * fade for value in row]
        self._vector = [value * fade for value in self._vector]
        self.watched_seconds = self.watched_seconds * fade + seconds
        features = [0.0] * _SIZE
        point, share = place_of(batch)
        features[point] = decode_share * (1.0 - share)
        if share:
            features[point + 1] = decode_share * share
        features[_PROMPT] = prompt_share
        # Unknowns are differences from 1, so that "no evidence" is a vector of zeros.
        missing = 1.0 - decode_share - prompt_share
        for i, x in enumerate(features):
            if x:
                self._vector[i] += seconds * x * missing
                for j, y in enumerate(features):
                    self._matrix[i][j] += seconds * x * y

    def ratios(self) -> tuple[BatchRatios, float]:
        """(g by batch, p), within [0.25, 4]."""
        matrix = [row[:] for row in self._matrix]
        for i in range(_SIZE):
            matrix[i][i] += _NEAR_ONE
        for k in range(POINTS - 1):
            _tie(matrix, k, k + 1, _NEAR_NEIGHBOUR)
        for k in range(POINTS):
            _tie(matrix, k, _PROMPT, _PROMPT_NEAR_DECODE)
        solution = _solved(matrix, self._vector[:])
        bounded = [min(_MAX_RATIO, max(_MIN_RATIO, 1.0 + value)) for value in solution]
        return tuple(bounded[:POINTS]), bounded[_PROMPT]


def _tie(matrix: list[list[float]], i: int, j: int, weight: float) -> None:
    """Add the penalty weight * (x_i - x_j)^2."""
    matrix[i][i] += weight
    matrix[j][j] += weight
    matrix[i][j] -= weight
    matrix[j][i] -= weight


def _solved(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """Gaussian elimination without pivoting: the matrix is symmetric positive definite."""
    for pivot, row in enumerate(matrix):
        for below in range(pivot + 1, len(matrix)):
            factor = matrix[below][pivot] / row[pivot]
            if factor:
                matrix[below] = [b - factor * a for a, b in zip(row, matrix[below], strict=True)]
                vector[below] -= factor * vector[pivot]
    solution = [0.0] * len(vector)
    for index in reversed(range(len(vector))):
        known = sum(matrix[index][j] * solution[j] for j in range(index + 1, len(vector)))
        solution[index] = (vector[index] - known) / matrix[index][index]
    return solution
