"""One configuration: a model on so many boards of an accelerator. Pure."""

import msgspec

from loadtest.fit import declared
from loadtest.fit.calibration import Host
from loadtest.fit.decode_power import assumed_power, measured_power
from loadtest.fit.leave_out import line_through
from loadtest.fit.setting import SECONDS_DIGITS, Setting
from loadtest.fit.steps import composed_step, measured_step, prefill
from loadtest.models.schema import Configuration, Step


def configuration(setting: Setting, model: str, *, gpus: int) -> Configuration:
    """All parameters of `model` on `gpus` boards."""
    architecture = declared.ARCHITECTURES[model]
    runs = setting.runs(architecture.run, gpus=gpus)
    step = (
        measured_step(setting, architecture, runs)
        if runs
        else composed_step(setting, architecture, gpus)
    )
    return Configuration(
        model=model,
        gpus=gpus,
        kv_capacity_tokens=declared.kv_capacity_tokens(
            architecture, declared.BOARDS[setting.accelerator], gpus=gpus
        ),
        step=step,
        prefill=prefill(setting, architecture, gpus),
        power=(
            measured_power(setting, architecture, runs, step)
            if runs
            else assumed_power(setting, architecture, step, gpus)
        ),
    )


def small_configuration(setting: Setting, large: Configuration) -> Configuration:
    """A second, smaller model: wholly assumed, scaled from the 8B by what the board must read.

    The host's share of a step stays; the rest shrinks with the weights (times) or with layers and
    heads (attention, KV). Watts stay: decode is as bound by memory bandwidth as before.
    """
    small, base = declared.SMALL, declared.ARCHITECTURES[large.model]
    weights = small.parameters / base.parameters
    cache = small.kv_bytes_per_token / base.kv_bytes_per_token
    attention = small.layers * small.query_heads / (base.layers * base.query_heads)
    assumed = (f"scaled from {large.model} by weights, layers and heads",)
    step, prompt = large.step, large.prefill
    points = tuple(
        (batch, round(_scaled(setting.host, batch, seconds, weights), SECONDS_DIGITS))
        for batch, seconds in step.points
    )
    return Configuration(
        model=declared.LLAMA_3B,
        gpus=large.gpus,
        kv_capacity_tokens=declared.kv_capacity_tokens(
            small, declared.BOARDS[setting.accelerator], gpus=large.gpus
        ),
        step=_scaled_step(step, points, weights, cache, assumed),
        prefill=msgspec.structs.replace(
            prompt,
            errors={},
            assumed=(*prompt.assumed, *assumed),
            base_seconds=prompt.base_seconds * weights,
            seconds_per_token=prompt.seconds_per_token * weights,
            seconds_per_token_squared=prompt.seconds_per_token_squared * attention,
        ),
        power=msgspec.structs.replace(
            large.power, errors={}, assumed=(*large.power.assumed, *assumed)
        ),
    )


def _scaled(host: Host, batch: float, seconds: float, weights: float) -> float:
    host_seconds = min(seconds, host.alpha + host.host_seconds(declared.SMALL, batch))
    return host_seconds + (seconds - host_seconds) * weights


def _scaled_step(
    step: Step,
    points: tuple[tuple[float, float], ...],
    weights: float,
    cache: float,
    assumed: tuple[str, ...],
) -> Step:
    base_seconds, per_request = line_through(points)
    return msgspec.structs.replace(
        step,
        errors={},
        assumed=(*step.assumed, *assumed),
        points=points,
        seconds_per_kv_token=step.seconds_per_kv_token * cache,
        mixed_step_seconds=step.mixed_step_seconds * weights,
        line_base_seconds=base_seconds,
        line_seconds_per_request=per_request,
    )
