"""What the parameter files hold. Pure; SI units, ratios, `null` where there is nothing.

Every block says where its numbers come from: files with their SHA-256, citations for readings that
are in no file, the method, the errors that were found, the range it was fitted on, and under
`assumed` what nobody measured.
"""

import msgspec

SCHEMA = 1
"""Number of this form; a file of another is not read."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data file that numbers were fitted to.

    Attributes:
        file: Path under the data directory.
        sha256: Of its bytes, hexadecimal.
    """

    file: str
    sha256: str


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every block of parameters tells about itself.

    Attributes:
        method: How the numbers were got, in a sentence.
        sources: Files they were fitted to.
        citations: Publications or readings that are not among the data files.
        errors: Mean absolute relative error by what was left out of the fit, as a ratio.
        valid: Quantity with its unit -> smallest and largest value the data covers.
        assumed: Numbers that nobody measured, each with the reason for its value.
    """

    method: str
    sources: tuple[SourceFile, ...] = ()
    citations: tuple[str, ...] = ()
    errors: dict[str, float] = {}
    valid: dict[str, tuple[float, float]] = {}
    assumed: tuple[str, ...] = ()


class Board(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board, whatever it serves.

    Attributes:
        device_name: As DCGM prints it in `modelName`.
        memory_bytes: Of the board.
        idle_watts: Model loaded, no request; the CUDA context keeps the clock up.
        asleep_watts: No CUDA context.
        prefill_watts: While a prompt chunk is computed.
        limit_watts: Default power limit.
        max_clock_hz: SM clock with a CUDA context.
        min_clock_hz: SM clock without one, the lowest that can be locked.
    """

    device_name: str
    memory_bytes: float
    idle_watts: float
    asleep_watts: float
    prefill_watts: float
    limit_watts: float
    max_clock_hz: float
    min_clock_hz: float


class Calibration(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From operator times on one board to engine steps on n boards.

    A step that only decodes takes
    T = alpha + gamma * (T_ops / n + tau * layers * (n - 1)) + delta * vocabulary * B;
    prompt chunks add gamma times their operators, and kappa * T_ops(1) / n once.

    Attributes:
        alpha_seconds: Host time of a step.
        gamma: Gain of the operator times.
        delta_seconds_per_logit: Sampling and host time of each running request, per entry of the
            vocabulary.
        kappa: Share of a decode pass that a step with chunks repeats.
        tau_seconds_per_layer: All-reduce of a layer for each further board.
    """

    alpha_seconds: float
    gamma: float
    delta_seconds_per_logit: float
    kappa: float
    tau_seconds_per_layer: float


class Activity(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Power of a model without a curve of its own: P0 + e_b * bandwidth + e_f * compute.

    Attributes:
        floor_watts: P0, a busy floor and not the idle power.
        watts_per_byte_rate: e_b, W per (byte/s) of weights and KV read.
        watts_per_flop_rate: e_f, W per (FLOP/s).
    """

    floor_watts: float
    watts_per_byte_rate: float
    watts_per_flop_rate: float


class Step(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode steps of one configuration.

    Attributes:
        points: Running requests and seconds of a step that only decodes, at the reference context.
        reference_context_tokens: Resident tokens per request that the points hold for.
        seconds_per_kv_token: Change of the step per resident KV token.
        mixed_step_seconds: What a step that also holds prompt chunks takes beyond its decodes and
            the chunks' own operators: it runs outside the captured CUDA graphs.
        line_base_seconds: a of the line a + b B through the points.
        line_seconds_per_request: b of it; continues the table past its last point.
    """

    points: tuple[tuple[float, float], ...]
    reference_context_tokens: float
    seconds_per_kv_token: float
    mixed_step_seconds: float
    line_base_seconds: float
    line_seconds_per_request: float


class Prefill(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Operators of a prompt of n tokens: base + linear * n + square * n^2.

    Attributes:
        base_seconds: Of a pass of its own; in a step, the decode table's floor is that.
        seconds_per_token: Linear term.
        seconds_per_token_squared: Attention.
    """

    base_seconds: float
    seconds_per_token: float
    seconds_per_token_squared: float


class Logistic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Watts of one board at batch B: floor + span / (1 + exp(-steepness (log2 B - midpoint)))."""

    floor_watts: float
    span_watts: float
    steepness: float
    midpoint_log2: float


class Power(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode power of one configuration.

    Attributes:
        points: Running requests and watts of one board.
        logistic: The curve through the points; None for fewer than five or where they do not rise.
    """

    points: tuple[tuple[float, float], ...]
    logistic: Logistic | None = None


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model on so many boards, tensor-parallel.

    Attributes:
        model: Name.
        gpus: Boards of a replica.
        kv_capacity_tokens: Tokens that fit beside the weights, as vLLM sizes its cache.
        step: Decode steps.
        prefill: Prompts.
        power: Decode power.
    """

    model: str
    gpus: int
    kv_capacity_tokens: int
    step: Step
    prefill: Prefill
    power: Power


class AcceleratorFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of one accelerator. The first configuration of a model is its default.

    Attributes:
        schema: SCHEMA.
        accelerator: Short name.
        board: One board.
        calibration: Engine calibration; its errors say whether it can be used.
        activity: Power of unknown models; None without data.
        configurations: What it can serve.
    """

    schema: int
    accelerator: str
    board: Board
    calibration: Calibration
    activity: Activity | None
    configurations: tuple[Configuration, ...]


class Sweep(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workload's clock sweep on one board.

    Attributes:
        workload: Name.
        max_clock_hz: f0.
        phi: Share of the time that scales with 1/f.
        static_watts: P_s.
        dynamic_watts: P_d at f0.
        voltage_floor: Smallest voltage ratio.
        voltage_slope: Its change with the clock ratio above the floor.
        knee_hz: Clock at which the voltage reaches its floor.
        energy_optimal_hz: Measured clock of the least energy.
        energy_optimal_ratio: Energy there over that at f0.
        energy_optimal_time_ratio: Time there over that at f0.
    """

    workload: str
    max_clock_hz: float
    phi: float
    static_watts: float
    dynamic_watts: float
    voltage_floor: float
    voltage_slope: float
    knee_hz: float
    energy_optimal_hz: float
    energy_optimal_ratio: float
    energy_optimal_time_ratio: float


class Response(Block, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clock response that the simulator uses, in ratios of the full clock.

    T(f) = T(f0) (1 - phi + phi f0/f); P(f) = P_s + P_d [(1 - x) + x r v^2], r = f/f0,
    v = max(voltage_floor, 1 - voltage_slope (1 - r)).

    Attributes:
        prefill_phi: phi of prompts.
        decode_phi: phi of decodes.
        decode_core_share: x of decodes; 1 for prompts.
        static_ratio: P_s over the board's prefill power.
        voltage_floor: See above.
        voltage_slope: See above.
        knee_ratio: Clock ratio below which the voltage no longer falls.
    """

    prefill_phi: float
    decode_phi: float
    decode_core_share: float
    static_ratio: float
    voltage_floor: float
    voltage_slope: float
    knee_ratio: float


class ClockFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clock response and the sweeps behind it."""

    schema: int
    response: Response
    sweeps: tuple[Sweep, ...]
