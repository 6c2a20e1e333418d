"""Operator times of one board as closed forms and as tables. Pure.

T = a + b B + c KV for decodes, p0 + p1 n + p2 n^2 for a prompt (facts/simulation.md 2.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loadtest.fit.regression import fit_relative, mean, predict, relative_errors
from loadtest.fit.sources import OperatorTime

# Beyond these the source takes the nearest measured attention (SOURCE.txt).
_TRUSTED_BATCH = 256
_TRUSTED_KV_TOKENS = 300_000


class DecodeForm(NamedTuple):
    """a + b B + c KV in seconds, and its error."""

    base: float
    per_request: float
    per_kv_token: float
    error_ratio: float


class PrefillForm(NamedTuple):
    """p0 + p1 n + p2 n^2 in seconds, and its error."""

    base: float
    per_token: float
    per_token_squared: float
    error_ratio: float

    def seconds(self, tokens: float) -> float:
        """Of the tokens of a prompt inside a step: without the pass's own base."""
        return self.per_token * tokens + self.per_token_squared * tokens * tokens


@dataclass(frozen=True, slots=True)
class Operators:
    """Composed operators of one model on one board.

    Attributes:
        decode: Closed form of a decode step.
        prefill: Closed form of a prompt.
        grid: (batch, context) -> seconds, as composed.
    """

    decode: DecodeForm
    prefill: PrefillForm
    grid: dict[tuple[int, int], float]

    def batches(self) -> list[int]:
        """Batches of the grid, rising."""
        return sorted({batch for batch, _ in self.grid})

    def decode_seconds(self, batch: float, context_tokens: float) -> float:
        """A decode step, linear between the points of the grid, held at its edges."""
        batches = self.batches()
        return float(np.interp(batch, batches, [self._at(one, context_tokens) for one in batches]))

    def _at(self, batch: int, context_tokens: float) -> float:
        contexts = sorted(tokens for at, tokens in self.grid if at == batch)
        seconds = [self.grid[batch, tokens] for tokens in contexts]
        return float(np.interp(context_tokens, contexts, seconds))


def operators_of(rows: Iterable[OperatorTime], *, gpu: str, model: str) -> Operators:
    """Fit one model on one board."""
    mine = [row for row in rows if (row.gpu, row.model) == (gpu, model)]
    decodes = [row for row in mine if row.phase == "decode"]
    return Operators(
        decode=_decode_form(decodes),
        prefill=_prefill_form([row for row in mine if row.phase == "prefill"]),
        grid={(row.batch, row.tokens): row.seconds for row in decodes},
    )


def _decode_form(rows: list[OperatorTime]) -> DecodeForm:
    trusted = [
        row
        for row in rows
        if row.batch <= _TRUSTED_BATCH and row.batch * row.tokens <= _TRUSTED_KV_TOKENS
    ]
    columns = (
        [1.0] * len(trusted),
        [float(row.batch) for row in trusted],
        [float(row.batch * row.tokens) for row in trusted],
    )
    return DecodeForm(*_fitted(columns, [row.seconds for row in trusted]))


def _prefill_form(rows: list[OperatorTime]) -> PrefillForm:
    columns = (
        [1.0] * len(rows),
        [float(row.tokens) for row in rows],
        [float(row.tokens) ** 2 for row in rows],
    )
    return PrefillForm(*_fitted(columns, [row.seconds for row in rows]))


def _fitted(
    columns: tuple[list[float], list[float], list[float]], seconds: list[float]
) -> tuple[float, float, float, float]:
    found = fit_relative(columns, seconds)
    error_ratio = mean(relative_errors(predict(columns, found), seconds))
    return float(found[0]), float(found[1]), float(found[2]), error_ratio
