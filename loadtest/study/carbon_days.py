"""Days of several grids under caps by carbon, beside no cap and beside constant caps."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from loadtest.simulator.arms import OURS, arm_plan
from loadtest.simulator.capper_carbon import CarbonLoop, CarbonPlan, ConstantCapLoop
from loadtest.simulator.control import Controller
from loadtest.simulator.scenario import Point, Scenario
from loadtest.simulator.scenario_world import world_of
from loadtest.simulator.simulation import Simulation
from loadtest.study.carbon_bounds import JOULES_PER_KILOWATT_HOUR
from loadtest.study.carbon_files import carbon_of
from loadtest.study.scenario_files import load_scenario
from loadtest.study.slices import arrivals, source_of

SCENARIO = "carbon"
HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day of a grid.

    Attributes:
        zone: Name of its series.
        start: Local midnight less the warm-up, as the series writes its times.
        forecast_error_ratio: Mean absolute error of forecasts.
    """

    zone: str
    start: str
    forecast_error_ratio: float = 0.0

    def scenario(self) -> Scenario:
        """The scenario `carbon` on this day."""
        carbon = {
            "file": f"us-2022-hourly/{self.zone}.csv",
            "column": "avg_CI",
            "start": self.start,
            "forecast_error_ratio": self.forecast_error_ratio,
        }
        return load_scenario(SCENARIO, changes={"carbon": carbon})

    def hourly_grams_per_kilowatt_hour(self) -> tuple[float, ...]:
        """Of each hour of the day."""
        scenario = self.scenario()
        series = carbon_of(scenario)
        assert series is not None, "the scenario is about carbon"
        return tuple(series.at(one) for one in edges_of(scenario)[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the cap goes: by carbon, constant, or, with neither, not at all.

    Attributes:
        carbon: By carbon.
        constant_ratio: Share of the fleet's highest power.
    """

    carbon: CarbonPlan | None = None
    constant_ratio: float | None = None

    def controller(self) -> Callable[[], Controller] | None:
        """Makes the control loop of a run."""
        if self.carbon is not None:
            return partial(CarbonLoop, self.carbon)
        if self.constant_ratio is not None:
            return partial(ConstantCapLoop, ratio=self.constant_ratio)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a day came to.

    Attributes:
        joules: Of all boards.
        grams: gCO2e.
        met_ratio: Requests within both objectives.
        hourly_joules: Of each hour of the day.
        hourly_grams_per_kilowatt_hour: Of the grid.
        hourly_requests: That arrived.
    """

    joules: float
    grams: float
    met_ratio: float
    hourly_joules: tuple[float, ...]
    hourly_grams_per_kilowatt_hour: tuple[float, ...]
    hourly_requests: tuple[int, ...]

    @property
    def grams_per_megajoule(self) -> float:
        """How dirty its joules were."""
        return self.grams / self.joules * 1e6

    def on(self, day: Day) -> "Played":
        """The same run on the grid of another day, for ways that do not look at the grid."""
        intensity = day.hourly_grams_per_kilowatt_hour()
        grams = sum(
            joules / JOULES_PER_KILOWATT_HOUR * grams
            for joules, grams in zip(self.hourly_joules, intensity, strict=True)
        )
        return replace(self, grams=grams, hourly_grams_per_kilowatt_hour=intensity)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRun:
    """One run, as a value that another process can be handed."""

    day: Day
    ways: Ways
    seed: int = 0

    @property
    def key(self) -> Hashable:
        """All of it."""
        return self

    @property
    def cost(self) -> float:
        """All days are alike."""
        return 1.0

    def run(self, on_ratio: Callable[[float], None] | None = None) -> Played:
        """Play it."""
        scenario = self.day.scenario()
        (load,) = scenario.loads_requests_per_second
        carbon = carbon_of(scenario)
        assert carbon is not None, "the scenario is about carbon"
        arm = arm_plan(OURS).simulation_arm(scenario.telemetry.model())
        stream = list(
            arrivals(scenario, source_of(scenario), load_requests_per_second=load, seed=self.seed)
        )
        simulation = Simulation(
            world_of(scenario, Point(load, "none"), prior_ratio=1.0, carbon=carbon),
            replace(arm, controller=self.ways.controller()),
            iter(stream),
            seed=self.seed,
        )
        edges = edges_of(scenario)
        meter = _HourMeter(edges, on_ratio)
        result = simulation.run(meter)
        accounts = result.accounts
        assert accounts is not None, "every run has them"
        assert accounts.grams_co2e is not None, "a series was given"
        return Played(
            joules=result.dynamic_joules + result.idle_joules,
            grams=accounts.grams_co2e,
            met_ratio=result.attained / result.requests,
            hourly_joules=tuple(after - before for before, after in pairwise(meter.joules)),
            hourly_grams_per_kilowatt_hour=tuple(carbon.at(one) for one in edges[:-1]),
            hourly_requests=tuple(
                sum(before <= one.at_seconds < after for one in stream)
                for before, after in pairwise(edges)
            ),
        )


def edges_of(scenario: Scenario) -> list[float]:
    """Begin and end of each hour of the day, in simulated seconds."""
    hour_seconds = scenario.window_seconds / HOURS
    return [scenario.warmup_seconds + hour_seconds * hour for hour in range(HOURS + 1)]


class _HourMeter:
    """Reads the energy of all boards at the edges of hours."""

    def __init__(self, edges: Sequence[float], on_ratio: Callable[[float], None] | None) -> None:
        self._edges = list(edges)
        self._last = edges[-1]
        self._on_ratio = on_ratio
        self.joules: list[float] = []

    def __call__(self, now_seconds: float, simulation: Simulation) -> None:
        if len(self.joules) < len(self._edges) and now_seconds >= self._edges[len(self.joules)]:
            boards = simulation.replicas.values()
            self.joules.append(sum(one.engine.energy(now_seconds).joules for one in boards))
        if self._on_ratio is not None:
            self._on_ratio(min(1.0, now_seconds / self._last))


def ratio_of_energy(constant: Sequence[tuple[float, float]], joules: float) -> float | None:
    """The constant cap that would take `joules`, between the runs that were made.

    Args:
        constant: (share of the fleet's highest power, joules taken) of runs.
        joules: Wanted.
    """
    known = sorted(constant, key=lambda one: one[1])
    for (low, low_joules), (high, high_joules) in pairwise(known):
        if low_joules <= joules <= high_joules and high_joules > low_joules:
            return low + (high - low) * (joules - low_joules) / (high_joules - low_joules)
    return None
