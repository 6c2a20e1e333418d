"""From operator times to whole engine steps, on ML.ENERGY's dense runs. Pure.

A run tells two times: the median inter-token latency, a step that only decodes, and the mean step,
in which the prompts of newcomers are. B requests of L tokens are replaced at B / L a step, so a
step carries a prompt with probability 1 - exp(-B / L). Both are fitted at once
(`schema.Calibration` has the formula). Why delta goes with the vocabulary: logits are sampled per
request over all of it, and without that the one model with another vocabulary is 13 % off when left
out. Why kappa: the gap between mean and median is the same at every batch and far above what the
prompt's operators take, as if prompts ran in a pass of their own.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from loadtest.fit.declared import (
    ARCHITECTURES,
    CALIBRATION_MODELS,
    PROMPT_TOKENS,
    Architecture,
)
from loadtest.fit.operators import Operators
from loadtest.fit.regression import fit_relative, mean, predict, relative_errors
from loadtest.fit.sources import Run

LARGEST_BATCH = 512
"""Runs with more requests are left out: the tables end there."""


class Host(NamedTuple):
    """The calibration in seconds; `schema.Calibration` has the formula."""

    alpha: float
    gamma: float
    delta: float
    kappa: float
    tau: float
    errors: dict[str, float]

    def decode_seconds(
        self, operator_seconds: float, architecture: Architecture, *, batch: float, gpus: int
    ) -> float:
        """A step that only decodes, from its operators on one board."""
        passes = operator_seconds / gpus + self.tau * architecture.layers * (gpus - 1)
        return self.alpha + self.gamma * passes + self.host_seconds(architecture, batch)

    def host_seconds(self, architecture: Architecture, batch: float) -> float:
        """What `batch` requests take outside the operators, alpha left out."""
        return self.delta * architecture.vocabulary * batch


def context_tokens(run: Run) -> float:
    """Resident tokens of a running request, in the middle of its answer."""
    return PROMPT_TOKENS[run.task] + 0.5 * run.answer_tokens


def prompt_seconds(run: Run, operators: Operators) -> float:
    """Operators on one board of the prompts that an average step carries."""
    per_step = run.batch / run.answer_tokens
    return per_step * operators.prefill.seconds(PROMPT_TOKENS[run.task])


def mixed_share(run: Run) -> float:
    """Part of the steps that carry a prompt, when prompts come at random."""
    return 1.0 - math.exp(-run.batch / run.answer_tokens)


def fit_host(runs: Sequence[Run], operators: dict[str, Operators]) -> Host:
    """Calibrate one accelerator.

    Args:
        runs: Of this accelerator.
        operators: Name among the operator times -> its operators on this accelerator.
    """
    dense = [run for run in runs if run.task in PROMPT_TOKENS and run.batch <= LARGEST_BATCH]
    single = [run for run in dense if run.model in CALIBRATION_MODELS and run.gpus == 1]
    host = _fit(single, operators)
    errors = _named("in_sample", *_errors(host, single, operators))
    left_out: list[tuple[float, float]] = []
    for model in sorted(CALIBRATION_MODELS):
        rest = [run for run in single if run.model != model]
        mine = [run for run in single if run.model == model]
        left_out.append(_errors(_fit(rest, operators), mine, operators))
        errors |= _named(f"leave_one_model_out {model}", *left_out[-1])
    decode_errors, step_errors = zip(*left_out, strict=True)
    errors |= _named("leave_one_model_out mean", mean(decode_errors), mean(step_errors))
    return _with_all_reduce(host._replace(errors=errors), dense, operators)


def _named(what: str, decode_error: float, step_error: float) -> dict[str, float]:
    return {f"{what}, decode step": decode_error, f"{what}, mean step": step_error}


def _columns(runs: Sequence[Run], operators: dict[str, Operators]) -> list[list[float]]:
    """Of the decode step and then of the mean step of every run."""
    decodes, means = [], []
    for run in runs:
        architecture = CALIBRATION_MODELS[run.model]
        mine = operators[architecture.operators]
        context = context_tokens(run)
        decode = mine.decode_seconds(run.batch, context)
        logits = run.batch * architecture.vocabulary
        repeated = mixed_share(run) * mine.decode_seconds(1, context)
        decodes.append([1.0, decode, logits, 0.0])
        means.append([1.0, decode + prompt_seconds(run, mine), logits, repeated])
    return [list(column) for column in zip(*decodes, *means, strict=True)]


def _measured(runs: Sequence[Run]) -> list[float]:
    return [run.decode_seconds for run in runs] + [run.step_seconds for run in runs]


def _fit(runs: Sequence[Run], operators: dict[str, Operators]) -> Host:
    found = fit_relative(_columns(runs, operators), _measured(runs))
    alpha, gamma, delta, kappa = map(float, found)
    return Host(alpha, gamma, delta, kappa, 0.0, {})


def _errors(
    host: Host, runs: Sequence[Run], operators: dict[str, Operators]
) -> tuple[float, float]:
    """Mean errors of the decode step and of the mean step."""
    predicted = predict(_columns(runs, operators), host[:4])
    errors = relative_errors(predicted, _measured(runs))
    return mean(errors[: len(runs)]), mean(errors[len(runs) :])


def _with_all_reduce(host: Host, runs: Sequence[Run], operators: dict[str, Operators]) -> Host:
    """Find tau on the decode steps of tensor-parallel runs, everything else held."""
    top = over = 0.0
    parallel = [
        (run, one) for one in ARCHITECTURES.values() for run in runs if run.model == one.run
    ]
    parallel = [(run, one) for run, one in parallel if run.gpus > 1]
    for run, one in parallel:
        weight = host.gamma * one.layers * (run.gpus - 1) / run.decode_seconds
        top += weight * (1.0 - _parallel_seconds(host, run, one, operators) / run.decode_seconds)
        over += weight * weight
    found = host._replace(tau=max(0.0, top / over))
    errors = dict(host.errors)
    for one in ARCHITECTURES.values():
        mine = [run for run, architecture in parallel if architecture is one]
        if mine:
            guesses = [_parallel_seconds(found, run, one, operators) for run in mine]
            errors[f"in_sample, decode step, tensor-parallel {one.run}"] = mean(
                relative_errors(guesses, [run.decode_seconds for run in mine])
            )
    return found._replace(errors=errors)


def _parallel_seconds(
    host: Host, run: Run, architecture: Architecture, operators: dict[str, Operators]
) -> float:
    mine = operators[architecture.operators]
    return host.decode_seconds(
        mine.decode_seconds(run.batch, context_tokens(run)),
        architecture,
        batch=run.batch,
        gpus=run.gpus,
    )
