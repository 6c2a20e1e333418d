"""What happened when: power of the fleet and batches of its replicas, in constant memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loadtest.simulator.simulation import Simulation

_MOST_BINS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A run as series of equally long bins.

    Attributes:
        bin_seconds: Length of each; a power of two, so that any run has at most 240.
        watts: Mean board power of the whole fleet.
        replicas: Addresses, in the order of the fleet.
        backends: The backend of each.
        running: Mean running and waiting requests; one series per replica.
        power_cap_watts: What the fleet may draw, or None.
        seconds_over_cap: Seconds whose mean power was above it.
        joules_over_cap: Energy above it in those seconds.
        peak_watts: Highest mean power of a second, measured window or not.
        series: Further means by name, see `loadtest.simulator.day_series`.
    """

    bin_seconds: float
    watts: tuple[float, ...]
    replicas: tuple[str, ...]
    backends: tuple[str, ...]
    running: tuple[tuple[float, ...], ...]
    power_cap_watts: float | None
    seconds_over_cap: float
    joules_over_cap: float
    peak_watts: float
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Bin:
    """Sums over the seconds of a bin."""

    running: list[float]
    further: list[float] = field(default_factory=list)
    seconds: int = 0
    joules: float = 0.0

    def absorb(self, other: "_Bin") -> None:
        self.running = [a + b for a, b in zip(self.running, other.running, strict=True)]
        self.further = [a + b for a, b in zip(self.further, other.further, strict=True)]
        self.seconds += other.seconds
        self.joules += other.joules


@dataclass(slots=True, kw_only=True)
class TimelineRecorder:
    """An observer of a `Simulation` that keeps its timeline.

    Bins start at one second. Whenever there would be too many, neighbours are merged, so a run of
    any length ends with 120 to 240 of them.

    Attributes:
        power_cap_watts: What the fleet may draw, or None.
        read_series: Reads what else is kept, or None.
    """

    power_cap_watts: float | None = None
    read_series: Callable[[float, Simulation], Mapping[str, float]] | None = None
    _names: tuple[str, ...] = ()
    _bins: list[_Bin] = field(default_factory=list)
    _bin_seconds: int = 1
    _last_joules: float | None = None
    _replicas: tuple[str, ...] = ()
    _backends: tuple[str, ...] = ()
    _seconds_over_cap: int = 0
    _joules_over_cap: float = 0.0
    _peak_watts: float = 0.0

    def __call__(self, now_seconds: float, simulation: Simulation) -> None:
        """Take in the second that has passed."""
        replicas = simulation.replicas.values()
        joules = sum(replica.engine.energy(now_seconds).joules for replica in replicas)
        if self._last_joules is None:
            self._replicas = tuple(replica.address for replica in replicas)
            self._backends = tuple(replica.backend for replica in replicas)
        else:
            running = [float(r.engine.running + r.engine.waiting) for r in replicas]
            further = {} if self.read_series is None else self.read_series(now_seconds, simulation)
            self._names = tuple(further)
            self._add(_Bin(running, list(further.values()), 1, joules - self._last_joules))
        self._last_joules = joules

    def timeline(self) -> Timeline:
        """What was recorded."""
        return Timeline(
            bin_seconds=float(self._bin_seconds),
            watts=tuple(one.joules / one.seconds for one in self._bins),
            replicas=self._replicas,
            backends=self._backends,
            running=tuple(
                tuple(one.running[index] / one.seconds for one in self._bins)
                for index in range(len(self._replicas))
            ),
            power_cap_watts=self.power_cap_watts,
            seconds_over_cap=float(self._seconds_over_cap),
            joules_over_cap=self._joules_over_cap,
            peak_watts=self._peak_watts,
            series={
                name: tuple(one.further[index] / one.seconds for one in self._bins)
                for index, name in enumerate(self._names)
            },
        )

    def _add(self, second: _Bin) -> None:
        self._peak_watts = max(self._peak_watts, second.joules)
        if self.power_cap_watts is not None and second.joules > self.power_cap_watts:
            self._seconds_over_cap += 1
            self._joules_over_cap += second.joules - self.power_cap_watts
        if self._bins and self._bins[-1].seconds < self._bin_seconds:
            self._bins[-1].absorb(second)
            return
        if len(self._bins) == _MOST_BINS:
            self._merge_neighbours()
        self._bins.append(second)

    def _merge_neighbours(self) -> None:
        for left, right in zip(self._bins[::2], self._bins[1::2], strict=True):
            left.absorb(right)
        self._bins = self._bins[::2]
        self._bin_seconds *= 2
