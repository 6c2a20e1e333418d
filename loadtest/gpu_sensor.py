"""The sensors of one simulated board: what it reports differs from what it draws. Pure.

Real boards average power over about a second and each has its own gain error of up to 5 per cent
(arXiv 2312.02741). Temperature follows power with one time constant. All thermal numbers are
assumed: the data at hand has none for a board.
"""

import hashlib
import math
from collections import deque

POWER_WINDOW_SECONDS = 1.0
MAX_GAIN_ERROR_RATIO = 0.05

_AMBIENT_CELSIUS = 30.0
_RISE_AT_FULL_POWER_CELSIUS = 45.0
_TIME_CONSTANT_SECONDS = 20.0


def board_gain(uuid: str, *, seed: int, spread_ratio: float = MAX_GAIN_ERROR_RATIO) -> float:
    """The gain of a board's power sensor: uniform in 1 +- spread, the same for every run."""
    return 1.0 + spread_ratio * (2.0 * keyed_uniform(f"{seed}/{uuid}") - 1.0)


def keyed_uniform(key: str) -> float:
    """A number from [0, 1) that depends on the key alone: randomness without a generator."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class GpuSensor:
    """Turns exact energy readings into what a board would report.

    Attributes:
        bias_ratio: A fault: from the next sample on the board measures so many times what its
            gain makes it measure; 1 is sound.
        temperature_celsius: Of the board, as of the last sample.
    """

    __slots__ = (
        "_exact_joules",
        "_full_watts",
        "_gain",
        "_idle_watts",
        "_samples",
        "_window_seconds",
        "bias_ratio",
        "temperature_celsius",
    )

    def __init__(
        self,
        *,
        idle_watts: float,
        full_watts: float,
        gain: float,
        now_seconds: float,
        joules: float,
        window_seconds: float = POWER_WINDOW_SECONDS,
    ) -> None:
        self.bias_ratio = 1.0
        self._gain = gain
        self._idle_watts = idle_watts
        self._full_watts = full_watts
        self._window_seconds = window_seconds
        self._exact_joules = joules
        # Time and measured joules: the board integrates what it measures.
        self._samples: deque[tuple[float, float]] = deque([(now_seconds, joules * gain)])
        self.temperature_celsius = self._settled_celsius(idle_watts)

    @property
    def power_watts(self) -> float:
        """Mean over the last second or so, as the board measures."""
        first_seconds, first_joules = self._samples[0]
        last_seconds, last_joules = self._samples[-1]
        if last_seconds <= first_seconds:
            return self._idle_watts * self._gain
        return (last_joules - first_joules) / (last_seconds - first_seconds)

    @property
    def energy_joules(self) -> float:
        """Since power-on, as of the last sample, as the board measures."""
        return self._samples[-1][1]

    def sample(self, *, now_seconds: float, joules: float) -> None:
        """Read the exact energy; call it several times a second, time never goes back."""
        last_seconds, measured_joules = self._samples[-1]
        elapsed_seconds = now_seconds - last_seconds
        if elapsed_seconds <= 0:
            return
        drawn_joules = joules - self._exact_joules
        self._exact_joules = joules
        self._warm(drawn_joules / elapsed_seconds, elapsed_seconds)
        # Keep one sample from before the window: its start lies between two samples.
        while len(self._samples) > 1 and self._samples[1][0] <= now_seconds - self._window_seconds:
            self._samples.popleft()
        measured_joules += drawn_joules * self._gain * self.bias_ratio
        self._samples.append((now_seconds, measured_joules))

    def _warm(self, watts: float, elapsed_seconds: float) -> None:
        """First-order response, exact for constant power."""
        decay = math.exp(-elapsed_seconds / _TIME_CONSTANT_SECONDS)
        settled_celsius = self._settled_celsius(watts)
        self.temperature_celsius = (
            settled_celsius + (self.temperature_celsius - settled_celsius) * decay
        )

    def _settled_celsius(self, watts: float) -> float:
        return _AMBIENT_CELSIUS + _RISE_AT_FULL_POWER_CELSIUS * watts / self._full_watts
