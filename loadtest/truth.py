"""What the simulated hardware really does: step times, watts and KV room of one replica.

This is the *world* that the router is tested in, so it shares nothing with the router's beliefs
(`fleet.priors`): it interpolates points that were measured, where the priors are fitted closed
forms. The two disagree by several per cent, as belief and hardware do.

Every number comes from the parameter files in `loadtest/models`, which `headrace fit` writes and
which name source, error and validity; docs/simulation/models.md explains them. Whatever is assumed
is in `Truth.assumptions`. All watts are those of the whole replica, which may be several boards.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from loadtest.models import ACCELERATORS, accelerator_file, clock_file
from loadtest.models.schema import AcceleratorFile, Configuration
from loadtest.models.tables import step_seconds_at, watts_at

MAX_BATCH = 512
"""Largest batch of the tables."""


class ClockResponse(NamedTuple):
    """How time and power follow the SM clock; r is the clock over the full clock.

    Phases are apart: prompts are bound by compute, decodes by memory (facts/simulation.md 2.3).

    Attributes:
        prefill_phi: Share of prefill time that scales with 1/r.
        decode_phi: Likewise of decode steps.
        decode_core_share: Share of the dynamic decode power that follows the clock; 1 for prefill.
        static_watts: Power of a busy replica that no clock changes.
        voltage_floor: Smallest voltage ratio.
        voltage_slope: Change of the voltage ratio with r above its floor.
    """

    prefill_phi: float
    decode_phi: float
    decode_core_share: float
    static_watts: float
    voltage_floor: float
    voltage_slope: float

    def core(self, clock_ratio: float) -> float:
        """Core power over that at full clock: r v^2."""
        voltage = max(self.voltage_floor, 1.0 - self.voltage_slope * (1.0 - clock_ratio))
        return clock_ratio * voltage * voltage

    def prefill_watts(self, full_watts: float, clock_ratio: float) -> float:
        """P_s + P_d r v^2, `full_watts` being P_s + P_d."""
        return full_watts - (full_watts - self.static_watts) * (1.0 - self.core(clock_ratio))

    def decode_watts(self, full_watts: float, clock_ratio: float) -> float:
        """P_s + P_d [(1 - x) + x r v^2]."""
        dynamic_watts = max(0.0, full_watts - self.static_watts)
        saved = self.decode_core_share * (1.0 - self.core(clock_ratio))
        return full_watts - dynamic_watts * saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The physics of one replica: one model on one board, or tensor-parallel on several.

    Attributes:
        accelerator: Short name, "H100".
        model: Name of the model whose physics this is.
        gpus: Boards of the replica; all watts below are theirs together.
        device_name: As DCGM prints it in `modelName`.
        step_seconds_by_batch: Decode step time at index = running requests, 0..MAX_BATCH, at the
            reference context. Index 0 is the floor of a step without decodes (prefill only).
        decode_watts_by_batch: Power in such a step, same index.
        reference_context_tokens: Resident tokens per request that the table was taken at.
        kv_seconds_per_token: Change of step time per resident KV token.
        mixed_step_seconds: What a step with decodes and prompt chunks takes beyond the two.
        prefill_seconds_per_token: Linear cost of a prompt token (p1).
        prefill_seconds_per_token_squared: Attention cost (p2).
        prefill_watts: Power while a prompt chunk is computed.
        idle_watts: Model loaded, no request; the CUDA context keeps the clock up.
        asleep_watts: Engine asleep or process gone.
        kv_capacity_tokens: Tokens the KV cache holds.
        max_clock_hz: SM clock with a CUDA context and no lock.
        asleep_clock_hz: SM clock without one, the lowest that can be locked.
        clock_hz: SM clock that times and watts hold for; with a power limit, the highest of them.
        clock_response: How they change with the clock.
        sources: Where the step times, watts and idle come from.
        assumptions: The numbers above that nobody measured.
    """

    accelerator: str
    model: str
    gpus: int
    device_name: str
    step_seconds_by_batch: tuple[float, ...]
    decode_watts_by_batch: tuple[float, ...]
    reference_context_tokens: float
    kv_seconds_per_token: float
    mixed_step_seconds: float
    prefill_seconds_per_token: float
    prefill_seconds_per_token_squared: float
    prefill_watts: float
    idle_watts: float
    asleep_watts: float
    kv_capacity_tokens: int
    max_clock_hz: float
    asleep_clock_hz: float
    clock_hz: float
    clock_response: ClockResponse
    sources: tuple[str, ...]
    assumptions: tuple[str, ...]

    @property
    def knee_clock_hz(self) -> float:
        """The clock below which the voltage falls no further, so that little more is saved."""
        response = self.clock_response
        ratio = 1.0 - (1.0 - response.voltage_floor) / response.voltage_slope
        return max(self.asleep_clock_hz, ratio * self.max_clock_hz)

    @property
    def full_watts(self) -> float:
        """The most that this replica draws in any phase."""
        return max(self.prefill_watts, *self.decode_watts_by_batch)

    @property
    def lowest_limit_watts(self) -> float:
        """The lowest power limit that `at_limit` can keep: all phases at the lowest clock."""
        response, ratio = self.clock_response, self.asleep_clock_hz / self.max_clock_hz
        decode_watts = (response.decode_watts(one, ratio) for one in self.decode_watts_by_batch)
        return max(response.prefill_watts(self.prefill_watts, ratio), *decode_watts)

    def step_seconds(self, batch: int, *, kv_tokens: float) -> float:
        """Time of a step with `batch` decodes over `kv_tokens` resident tokens in all."""
        excess_tokens = kv_tokens - self.reference_context_tokens * batch
        return self.step_seconds_by_batch[batch] + self.kv_seconds_per_token * excess_tokens

    def chunk_seconds(self, *, done_tokens: int, new_tokens: int) -> float:
        """Time that `new_tokens` of one prompt add to a step, `done_tokens` being in the cache.

        p1 n + p2 ((d + n)^2 - d^2), facts/simulation.md 2.1.
        """
        return new_tokens * (
            self.prefill_seconds_per_token
            + self.prefill_seconds_per_token_squared * (2 * done_tokens + new_tokens)
        )

    def at_clock(self, clock_hz: float, *, limit_watts: float | None = None) -> "Truth":
        """This replica with its SM clocks locked, and under a power limit if one is given.

        Costs some milliseconds: keep the result, do not ask for it in every step. A limit acts as
        the hardware's does, in each phase and at each batch by itself: prompts may slow down while
        decodes, drawing less than the limit, run on at the locked clock. KV reads are memory
        traffic and are slowed as the largest batch is.

        Args:
            clock_hz: Between `asleep_clock_hz` and `max_clock_hz`.
            limit_watts: Of all boards together.

        Raises:
            ValueError: When the clock is out of range, the limit cannot be met at the lowest clock,
                or this is not the replica at its full clock.
        """
        if self.clock_hz != self.max_clock_hz:
            raise ValueError(
                "change the clock of the replica at its full clock, not of a slowed one"
            )
        if not self.asleep_clock_hz <= clock_hz <= self.max_clock_hz:
            raise ValueError(
                f"{self.accelerator} clock must be in {self.asleep_clock_hz:.0f}.."
                f"{self.max_clock_hz:.0f} Hz, not {clock_hz}"
            )
        response, lock_ratio = self.clock_response, clock_hz / self.max_clock_hz
        ratios = [
            self._decode_ratio(watts, lock_ratio, limit_watts)
            for watts in self.decode_watts_by_batch
        ]
        prefill_ratio = self._prefill_ratio(lock_ratio, limit_watts)
        decode_stretches = [_stretch(response.decode_phi, ratio) for ratio in ratios]
        prefill_stretch = _stretch(response.prefill_phi, prefill_ratio)
        return replace(
            self,
            clock_hz=clock_hz,
            step_seconds_by_batch=tuple(
                map(float.__mul__, self.step_seconds_by_batch, decode_stretches)
            ),
            decode_watts_by_batch=tuple(
                map(response.decode_watts, self.decode_watts_by_batch, ratios)
            ),
            kv_seconds_per_token=self.kv_seconds_per_token * decode_stretches[-1],
            mixed_step_seconds=self.mixed_step_seconds * prefill_stretch,
            prefill_seconds_per_token=self.prefill_seconds_per_token * prefill_stretch,
            prefill_seconds_per_token_squared=(
                self.prefill_seconds_per_token_squared * prefill_stretch
            ),
            prefill_watts=response.prefill_watts(self.prefill_watts, prefill_ratio),
            idle_watts=self._idle_watts(lock_ratio),
        )

    def at_limit(self, limit_watts: float) -> "Truth":
        """This replica under a power limit only; see `at_clock`."""
        return self.at_clock(self.max_clock_hz, limit_watts=limit_watts)

    def _idle_watts(self, clock_ratio: float) -> float:
        """What the context adds to a sleeping board follows the core, as nothing is computed."""
        context_watts = self.idle_watts - self.asleep_watts
        return self.asleep_watts + context_watts * self.clock_response.core(clock_ratio)

    def _decode_ratio(self, full_watts: float, lock: float, limit_watts: float | None) -> float:
        response = self.clock_response
        if limit_watts is None or response.decode_watts(full_watts, lock) <= limit_watts:
            return lock
        dynamic_watts = (full_watts - response.static_watts) * response.decode_core_share
        core = 1.0 - (full_watts - limit_watts) / dynamic_watts
        return self._ratio_of_core(core, limit_watts)

    def _prefill_ratio(self, lock: float, limit_watts: float | None) -> float:
        response = self.clock_response
        if limit_watts is None or response.prefill_watts(self.prefill_watts, lock) <= limit_watts:
            return lock
        core = (limit_watts - response.static_watts) / (self.prefill_watts - response.static_watts)
        return self._ratio_of_core(core, limit_watts)

    def _ratio_of_core(self, core: float, limit_watts: float) -> float:
        """The clock ratio at which r v^2 is `core`; bisection, from below, so never above it."""
        low, high = self.asleep_clock_hz / self.max_clock_hz, 1.0
        if self.clock_response.core(low) > core:
            raise ValueError(
                f"{self.gpus} x {self.accelerator} draws more than {limit_watts} W at its lowest "
                "clock under load: no clock keeps that limit"
            )
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if self.clock_response.core(middle) <= core:
                low = middle
            else:
                high = middle
        return low


_BISECTIONS = 40


def _stretch(phi: float, clock_ratio: float) -> float:
    """T(f) / T(f0) = 1 - phi + phi f0 / f."""
    return 1.0 - phi + phi / clock_ratio


def accelerators() -> tuple[str, ...]:
    """Names that `truth_of` knows."""
    return ACCELERATORS


def models() -> tuple[str, ...]:
    """Model names that `truth_of` knows, on every accelerator."""
    first = accelerator_file(ACCELERATORS[0])
    return tuple(dict.fromkeys(one.model for one in first.configurations))


def parallelisms(accelerator: str, model: str) -> tuple[int, ...]:
    """Boards per replica that `truth_of` knows for a model, the default first."""
    configurations = accelerator_file(accelerator).configurations
    return tuple(one.gpus for one in configurations if one.model == model)


@lru_cache(maxsize=64)
def truth_of(accelerator: str, model: str = "llama-3.1-8b", *, gpus: int | None = None) -> Truth:
    """The physics of one replica of `model` on boards of `accelerator`.

    Args:
        accelerator: One of `accelerators()`.
        model: One of `models()`.
        gpus: Boards of the replica, one of `parallelisms`; None takes the first of them.

    Raises:
        KeyError: When a name or the number of boards is unknown; the message lists the known ones.
    """
    if accelerator not in ACCELERATORS:
        raise KeyError(f"accelerator {accelerator!r} is not one of {', '.join(ACCELERATORS)}")
    if model not in models():
        raise KeyError(f"model {model!r} is not one of {', '.join(models())}")
    known = parallelisms(accelerator, model)
    chosen = known[0] if gpus is None else gpus
    if chosen not in known:
        listed = ", ".join(map(str, known))
        raise KeyError(f"{model} on {chosen} x {accelerator}: gpus is not one of {listed}")
    parameters = accelerator_file(accelerator)
    return _truth(
        parameters,
        next(one for one in parameters.configurations if (one.model, one.gpus) == (model, chosen)),
    )


def _truth(parameters: AcceleratorFile, configuration: Configuration) -> Truth:
    board, gpus = parameters.board, configuration.gpus
    step, prefill, power = configuration.step, configuration.prefill, configuration.power
    batches = [max(batch, 1) for batch in range(MAX_BATCH + 1)]
    return Truth(
        accelerator=parameters.accelerator,
        model=configuration.model,
        gpus=gpus,
        device_name=board.device_name,
        step_seconds_by_batch=tuple(
            step_seconds_at(step.points, batch, slope_above=step.line_seconds_per_request)
            for batch in batches
        ),
        decode_watts_by_batch=tuple(gpus * watts_at(power.points, batch) for batch in batches),
        reference_context_tokens=step.reference_context_tokens,
        kv_seconds_per_token=step.seconds_per_kv_token,
        mixed_step_seconds=step.mixed_step_seconds,
        prefill_seconds_per_token=prefill.seconds_per_token,
        prefill_seconds_per_token_squared=prefill.seconds_per_token_squared,
        prefill_watts=gpus * board.prefill_watts,
        idle_watts=gpus * board.idle_watts,
        asleep_watts=gpus * board.asleep_watts,
        kv_capacity_tokens=configuration.kv_capacity_tokens,
        max_clock_hz=board.max_clock_hz,
        asleep_clock_hz=board.min_clock_hz,
        clock_hz=board.max_clock_hz,
        clock_response=_clock_response(gpus * board.prefill_watts),
        sources=(
            f"step: {step.method}",
            f"prefill: {prefill.method}",
            f"power: {power.method}",
            f"board: {board.method}",
        ),
        assumptions=(*step.assumed, *prefill.assumed, *power.assumed, *board.assumed),
    )


def _clock_response(prefill_watts: float) -> ClockResponse:
    response = clock_file().response
    return ClockResponse(
        prefill_phi=response.prefill_phi,
        decode_phi=response.decode_phi,
        decode_core_share=response.decode_core_share,
        static_watts=response.static_ratio * prefill_watts,
        voltage_floor=response.voltage_floor,
        voltage_slope=response.voltage_slope,
    )
