"""The capper under a cap that follows the grid, or under a constant one beside it."""

from collections.abc import Iterable
from dataclasses import dataclass

from capper.decide.carbon import (
    CarbonState,
    EmissionBudget,
    Schedule,
    Slot,
    budgeted_cap,
    metered,
    scheduled_cap,
)
from capper.decide.policy import NamedCap, Rung
from loadtest.simulator.capper_loop import CapperLoop, with_rungs
from loadtest.simulator.control import Action, ControlView

# The series that is played may be faster than real time; schedule and budget count its hours.
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonPlan:
    """Caps as shares of what the fleet draws at most.

    Attributes:
        low_ratio: In the dirtiest hours, and the least that a budget asks for.
        high_ratio: In the cleanest.
        levels: Caps between the two, both included.
        ramp_levels: By which one change may move.
        budget_grams: gCO2e in 24 h of the series as it is played; None: by rank alone.
    """

    low_ratio: float = 0.25
    high_ratio: float = 0.5
    levels: int = 4
    ramp_levels: int = 1
    budget_grams: float | None = None


DEEP = CarbonPlan(low_ratio=0.15, high_ratio=1.0, levels=2)
"""Clocks as low as the loop goes in the dirtier half of the day, no cap in the cleaner one."""


class CarbonLoop:
    """Clocks under a cap by the rank of the hour, by a budget, or by the lower of the two.

    Replicas and requests are left alone: it saves on how fast answers are made, not on how many.
    """

    def __init__(self, plan: CarbonPlan | None = None) -> None:
        """Follow `plan`; by default four levels."""
        self._plan = plan or CarbonPlan()
        self._state = CarbonState()
        self._capper = with_rungs(Rung.CLOCKS)

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn under the cap of this hour."""
        return self._capper.turn(view, self.caps(view))

    def caps(self, view: ControlView) -> list[NamedCap]:
        """The caps of this hour, for a capper of one's own."""
        """The caps of this hour, for a loop that has others; to be asked once a turn."""
        if view.carbon_interval_seconds is None:
            return []
        plan, scale = self._plan, _HOUR_SECONDS / view.carbon_interval_seconds
        now_seconds = view.now_seconds * scale
        slots = _slots(view.carbon_forecast, now_seconds)
        full_watts = sum(one.full_watts for one in view.replicas)
        schedule = Schedule(
            min_cap_watts=plan.low_ratio * full_watts,
            max_cap_watts=plan.high_ratio * full_watts,
            levels=plan.levels,
            ramp_levels=plan.ramp_levels,
        )
        ranked, self._state = scheduled_cap(schedule, slots, self._state, now_seconds=now_seconds)
        found = {"carbon schedule": ranked}
        if plan.budget_grams is not None:
            budget = EmissionBudget(
                # Watts are those of the played time, in which an hour is shorter.
                grams=plan.budget_grams * scale,
                min_cap_watts=plan.low_ratio * full_watts,
                max_cap_watts=full_watts,
            )
            self._state = metered(
                budget,
                self._state,
                watts=view.power_watts,
                grams_per_kilowatt_hour=view.carbon_grams_per_kilowatt_hour,
                now_seconds=now_seconds,
            )
            found = {
                "carbon budget": budgeted_cap(budget, slots, self._state, now_seconds=now_seconds)
            }
        return [NamedCap(source=name, watts=cap) for name, cap in found.items() if cap is not None]


class ConstantCapLoop:
    """The capper under a constant cap with the same rungs; by default the mean of the four."""

    def __init__(self, *, ratio: float = 0.375) -> None:
        """At this share of the fleet's highest power."""
        self._ratio = ratio
        self._capper: CapperLoop = with_rungs(Rung.CLOCKS)

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn."""
        watts = self._ratio * sum(one.full_watts for one in view.replicas)
        return self._capper.turn(view, [NamedCap(source="constant", watts=watts)])


def _slots(forecast: tuple[float, ...], now_seconds: float) -> list[Slot]:
    first_seconds = now_seconds // _HOUR_SECONDS * _HOUR_SECONDS
    return [
        Slot(
            start_seconds=first_seconds + hour * _HOUR_SECONDS,
            end_seconds=first_seconds + (hour + 1) * _HOUR_SECONDS,
            grams_per_kilowatt_hour=grams,
        )
        for hour, grams in enumerate(forecast)
    ]
