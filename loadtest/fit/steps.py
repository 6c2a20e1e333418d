"""Step times of one configuration: measured where ML.ENERGY ran it, else composed. Pure."""

from collections.abc import Sequence

import msgspec

from loadtest.fit import declared
from loadtest.fit.calibration import LARGEST_BATCH, mixed_share, prompt_seconds
from loadtest.fit.declared import Architecture
from loadtest.fit.leave_out import (
    left_out_errors,
    line_errors,
    line_through,
    step_line,
    step_table,
)
from loadtest.fit.operators import Operators
from loadtest.fit.regression import mean, relative_errors
from loadtest.fit.setting import (
    CHAT,
    SECONDS_DIGITS,
    Setting,
    held_out_runs,
    predicted_step_seconds,
    step_points,
)
from loadtest.fit.sources import OPERATORS_FILE, RUNS_FILE, Run
from loadtest.models.schema import Prefill, Step

# Context of a composed table, the shortest of the operator times.
_COMPOSED_CONTEXT = 256.0

# Operator times are flat there within their noise.
_FLAT = frozenset({2, 4})

_BELOW_FIRST = (
    "below {first:.0f} requests the step follows the first segment and the watts are held, as "
    "powertrace-sim saw on A100: no run was made there"
)
_ABOVE_LAST = (
    "above {last:.0f} requests the step follows the line and the watts are held: "
    "the KV cache ends the runs there"
)


def _edges(runs: Sequence[Run]) -> tuple[str, ...]:
    first, last = runs[0].batch, runs[-1].batch
    told = (_BELOW_FIRST.format(first=first),)
    return told if last >= LARGEST_BATCH else (*told, _ABOVE_LAST.format(last=last))


def _nominal_context(runs: Sequence[Run]) -> float:
    """Prompt plus half an answer, whose mean is taken to the nearest five tokens."""
    answer_tokens = 5 * round(mean([run.answer_tokens for run in runs]) / 5)
    return declared.PROMPT_TOKENS[CHAT] + answer_tokens // 2


def measured_step(setting: Setting, architecture: Architecture, runs: list[Run]) -> Step:
    """Decode steps as ML.ENERGY measured them; `runs` by rising batch."""
    operators, gpus = setting.operators[architecture.operators], runs[0].gpus
    points, context = step_points(runs), _nominal_context(runs)
    base, per_request = line_through(points)
    mixed, with_mixed, without_mixed = _mixed_step(runs, operators)
    left_out = left_out_errors(points, step_table)
    errors = {
        "leave_one_point_out": mean(left_out),
        "leave_one_point_out largest": max(left_out),
        "line in_sample": mean(line_errors(points)),
        "line leave_one_point_out": mean(left_out_errors(points, step_line)),
        "mean step in_sample": with_mixed,
        "mean step in_sample, without the mixed step": without_mixed,
    }
    step = Step(
        method=(
            f"median inter-token latency of ML.ENERGY v3 {CHAT} runs, linear between batches; KV "
            "term from composed operators"
        ),
        sources=(setting.data.files[RUNS_FILE], setting.data.files[OPERATORS_FILE]),
        valid={
            "batch": (runs[0].batch, runs[-1].batch),
            "kv_tokens_per_request": (declared.PROMPT_TOKENS[CHAT], context),
            "clock_hz": (setting.max_clock_hz, setting.max_clock_hz),
        },
        assumed=("120 prompt tokens per v3 request: not published per run", *_edges(runs)),
        points=points,
        reference_context_tokens=context,
        seconds_per_kv_token=operators.decode.per_kv_token / gpus,
        mixed_step_seconds=mixed,
        line_base_seconds=base,
        line_seconds_per_request=per_request,
    )
    for name, foreign in held_out_runs(setting, architecture, runs).items():
        measured = [run.decode_seconds for run in foreign]
        errors[name] = mean(relative_errors(predicted_step_seconds(step, foreign), measured))
    return msgspec.structs.replace(step, errors=errors)


def _mixed_step(runs: list[Run], operators: Operators) -> tuple[float, float, float]:
    """Mixed-step seconds, and the mean step's error with and without them."""
    known = [run.decode_seconds + prompt_seconds(run, operators) / run.gpus for run in runs]
    shares = [mixed_share(run) for run in runs]
    over = sum((share / run.step_seconds) ** 2 for share, run in zip(shares, runs, strict=True))
    mixed = max(
        0.0,
        sum(
            share * (run.step_seconds - seconds) / run.step_seconds**2
            for share, run, seconds in zip(shares, runs, known, strict=True)
        )
        / over,
    )
    rebuilt = [seconds + share * mixed for seconds, share in zip(known, shares, strict=True)]
    return (
        mixed,
        mean([abs(s / run.step_seconds - 1.0) for s, run in zip(rebuilt, runs, strict=True)]),
        mean([abs(s / run.step_seconds - 1.0) for s, run in zip(known, runs, strict=True)]),
    )


def composed_step(setting: Setting, architecture: Architecture, gpus: int) -> Step:
    """Decode steps composed from operators."""
    operators, host = setting.operators[architecture.operators], setting.host
    batches = [batch for batch in operators.batches() if batch not in _FLAT]
    points = tuple(
        (
            float(batch),
            round(
                host.decode_seconds(
                    operators.decode_seconds(batch, _COMPOSED_CONTEXT),
                    architecture,
                    batch=batch,
                    gpus=gpus,
                ),
                SECONDS_DIGITS,
            ),
        )
        for batch in batches
    )
    base, per_request = line_through(points)
    parallel = "all-reduce as between H100 of one host, fitted on 2 and 4 of them"
    passes = operators.decode_seconds(
        1, _COMPOSED_CONTEXT
    ) / gpus + host.tau * architecture.layers * (gpus - 1)
    return Step(
        method="composed operators through the engine calibration",
        sources=(setting.data.files[OPERATORS_FILE],),
        errors={
            "closed form of the operators in_sample": operators.decode.error_ratio,
            "line in_sample": mean(line_errors(points)),
        },
        valid={
            "batch": (points[0][0], points[-1][0]),
            "kv_tokens": (0.0, 300_000.0),
            "clock_hz": (setting.max_clock_hz, setting.max_clock_hz),
        },
        assumed=(*setting.host_assumption, *((parallel,) if gpus > 1 else ())),
        points=points,
        reference_context_tokens=_COMPOSED_CONTEXT,
        seconds_per_kv_token=host.gamma * operators.decode.per_kv_token / gpus,
        mixed_step_seconds=host.kappa * passes,
        line_base_seconds=base,
        line_seconds_per_request=per_request,
    )


def prefill(setting: Setting, architecture: Architecture, gpus: int) -> Prefill:
    """Prompts, composed from operators."""
    form = setting.operators[architecture.operators].prefill
    parallel = ("prompt operators divide among the boards without loss",) if gpus > 1 else ()
    return Prefill(
        method="composed operators, p0 + p1 n + p2 n^2 by least relative squares",
        sources=(setting.data.files[OPERATORS_FILE],),
        errors={"in_sample": form.error_ratio},
        valid={
            "prompt_tokens": (128.0, 8192.0),
            "clock_hz": (setting.max_clock_hz, setting.max_clock_hz),
        },
        assumed=parallel,
        base_seconds=form.base / gpus,
        seconds_per_token=form.per_token / gpus,
        seconds_per_token_squared=form.per_token_squared / gpus,
    )
