"""What telemetry tells of a board: DCGM collects at intervals, rounds, and may fail. Pure.

The board itself (averaging window, gain, temperature) is `loadtest.gpu_sensor.GpuSensor`, the same
one that the live exporter of the simulated fleet reads. Here it is sampled under a virtual clock:
the simulation asks when the next exact meter reading is wanted (`DcgmSensor.due_seconds`), hands it
in (`sample`), and scrapes what the exporter would show (`read`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from loadtest.gpu_sensor import (
    MAX_GAIN_ERROR_RATIO,
    POWER_WINDOW_SECONDS,
    GpuSensor,
    board_gain,
    keyed_uniform,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorModel:
    """How boards are measured and collected.

    Attributes:
        interval_seconds: Between two collections, above 0.
        window_seconds: Over which a board averages its power, above 0; about a second on
            present ones (arXiv 2312.02741).
        gain_spread_ratio: Largest gain error of a board, drawn once per board, 0..1.
        power_step_watts: Power is rounded to multiples of it; NVML tells whole milliwatts.
        loss_ratio: Share of collections that give no value, 0..1; drawn independently.
    """

    interval_seconds: float = 1.0
    window_seconds: float = POWER_WINDOW_SECONDS
    gain_spread_ratio: float = MAX_GAIN_ERROR_RATIO
    power_step_watts: float = 0.001
    loss_ratio: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no sensor could be.

        Raises:
            ValueError: A field is outside its range.
        """
        for name in ("interval_seconds", "window_seconds", "power_step_watts"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be a number above 0")
        for name in ("gain_spread_ratio", "loss_ratio"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}, it must be from 0 to 1")


class Outage(NamedTuple):
    """Nothing can be read from `start_seconds` until before `end_seconds`."""

    start_seconds: float
    end_seconds: float


class Bias(NamedTuple):
    """The board measures `ratio` times as much from `start_seconds` until `end_seconds`."""

    start_seconds: float
    end_seconds: float
    ratio: float = 1.1


class BoardReading(NamedTuple):
    """One collection, in the units of DCGM.

    Attributes:
        at_seconds: When it was collected.
        power_watts: Mean over the averaging window, rounded.
        energy_millijoules: Counter since the start; never falls.
        temperature_celsius: Of the board, whole degrees.
    """

    at_seconds: float
    power_watts: float
    energy_millijoules: int
    temperature_celsius: int


class DcgmSensor:
    """One board's sensor behind a dcgm-exporter, under a virtual clock.

    Attributes:
        gain: Of the board: what it measures over what it draws.
        due_seconds: When the next exact meter reading is wanted; further ones do no harm and
            refine the averaging window.
    """

    __slots__ = (
        "_biases",
        "_board",
        "_collection",
        "_latest",
        "_model",
        "_outages",
        "_sampled_seconds",
        "_seed",
        "_sensor",
        "_start_seconds",
        "due_seconds",
        "gain",
    )

    def __init__(
        self,
        board: str,
        model: SensorModel,
        *,
        seed: int,
        idle_watts: float,
        full_watts: float,
        now_seconds: float = 0.0,
        outages: Sequence[Outage] = (),
        biases: Sequence[Bias] = (),
    ) -> None:
        """Start at a meter reading of 0 J.

        Args:
            board: Its UUID; with the seed it decides gain and losses.
            model: How it is measured.
            seed: Of gain and losses.
            idle_watts: Sets the temperature at the start.
            full_watts: Sets the temperature under load.
            now_seconds: Collections are whole intervals after it.
            outages: When nothing can be read.
            biases: When it measures wrong; where they overlap their errors add up.
        """
        self.gain = board_gain(board, seed=seed, spread_ratio=model.gain_spread_ratio)
        self._board = board
        self._model = model
        self._seed = seed
        self._outages = tuple(outages)
        self._biases = tuple(biases)
        self._sensor = GpuSensor(
            idle_watts=idle_watts,
            full_watts=full_watts,
            gain=self.gain,
            now_seconds=now_seconds,
            joules=0.0,
            window_seconds=model.window_seconds,
        )
        self._start_seconds = self._sampled_seconds = now_seconds
        self._collection = 1  # number of the next one
        self._latest: BoardReading | None = None
        self.due_seconds = self._next_due()

    def sample(self, *, now_seconds: float, joules: float) -> None:
        """Take an exact meter reading; collect if it is time to.

        Args:
            now_seconds: Never before the last one.
            joules: Exact energy since the start.
        """
        self._sensor.bias_ratio = self._mean_bias(now_seconds)
        self._sensor.sample(now_seconds=now_seconds, joules=joules)
        self._sampled_seconds = now_seconds
        if now_seconds >= self._collection_seconds():
            elapsed_intervals = (now_seconds - self._start_seconds) / self._model.interval_seconds
            # `max`: rounding must not make this collection come twice.
            self._collection = max(self._collection + 1, math.floor(elapsed_intervals) + 1)
            self._latest = None if self._lost(now_seconds) else self._collected(now_seconds)
        self.due_seconds = self._next_due()

    def read(self, *, now_seconds: float) -> BoardReading | None:
        """What a scrape sees: the last collection, however old it is.

        None before the first, when the last one was lost, and during an outage.
        """
        return None if self._out(now_seconds) else self._latest

    def _collected(self, now_seconds: float) -> BoardReading:
        step_watts = self._model.power_step_watts
        return BoardReading(
            at_seconds=now_seconds,
            power_watts=round(self._sensor.power_watts / step_watts) * step_watts,
            energy_millijoules=int(self._sensor.energy_joules * 1e3),
            temperature_celsius=round(self._sensor.temperature_celsius),
        )

    def _collection_seconds(self) -> float:
        return self._start_seconds + self._collection * self._model.interval_seconds

    def _next_due(self) -> float:
        """The next collection, or before it the start of its averaging window."""
        collection_seconds = self._collection_seconds()
        window_start_seconds = collection_seconds - self._model.window_seconds
        if window_start_seconds > self._sampled_seconds:
            return window_start_seconds
        return collection_seconds

    def _lost(self, now_seconds: float) -> bool:
        key = f"{self._seed}/{self._board}/{self._collection}"
        return self._out(now_seconds) or keyed_uniform(key) < self._model.loss_ratio

    def _out(self, now_seconds: float) -> bool:
        return any(start <= now_seconds < end for start, end in self._outages)

    def _mean_bias(self, now_seconds: float) -> float:
        """Over the time since the last sample, as if power had been constant in it."""
        elapsed_seconds = now_seconds - self._sampled_seconds
        if elapsed_seconds <= 0:
            return 1.0
        excess_seconds = sum(
            (ratio - 1.0) * max(0.0, min(now_seconds, end) - max(self._sampled_seconds, start))
            for start, end, ratio in self._biases
        )
        return 1.0 + excess_seconds / elapsed_seconds
