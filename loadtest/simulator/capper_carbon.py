"""The capper under a cap that follows the grid, or under the constant one beside it."""

from collections.abc import Iterable

from capper.decide.carbon import CarbonState, Schedule, Slot, scheduled_cap
from capper.decide.policy import NamedCap, Rung
from loadtest.simulator.capper_loop import CapperLoop, with_rungs
from loadtest.simulator.control import Action, ControlView

# The series that is played may be faster than real time; the schedule counts its hours.
_HOUR_SECONDS = 3600.0


class CarbonLoop:
    """Clocks under a cap by the rank of the hour.

    The cap moves between two shares of what the fleet draws at most. Replicas and requests are left
    alone: it saves on how fast answers are made, not on how many.
    """

    def __init__(self, *, low_ratio: float = 0.25, high_ratio: float = 0.5) -> None:
        """Between these shares of the fleet's highest power."""
        self._low_ratio, self._high_ratio = low_ratio, high_ratio
        self._state = CarbonState()
        self._capper = with_rungs(Rung.CLOCKS)

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn under the cap of this hour."""
        return self._capper.turn(view, self._caps(view))

    def _caps(self, view: ControlView) -> list[NamedCap]:
        if view.carbon_interval_seconds is None:
            return []
        scale = _HOUR_SECONDS / view.carbon_interval_seconds
        now_seconds = view.now_seconds * scale
        first_seconds = now_seconds // _HOUR_SECONDS * _HOUR_SECONDS
        full_watts = sum(one.full_watts for one in view.replicas)
        cap_watts, self._state = scheduled_cap(
            Schedule(
                min_cap_watts=self._low_ratio * full_watts,
                max_cap_watts=self._high_ratio * full_watts,
            ),
            [
                Slot(
                    start_seconds=first_seconds + hour * _HOUR_SECONDS,
                    end_seconds=first_seconds + (hour + 1) * _HOUR_SECONDS,
                    grams_per_kilowatt_hour=grams,
                )
                for hour, grams in enumerate(view.carbon_forecast)
            ],
            self._state,
            now_seconds=now_seconds,
        )
        if cap_watts is None:
            return []
        return [NamedCap(source="carbon schedule", watts=cap_watts)]


class ConstantCapLoop:
    """The capper under the constant mean of the carbon schedule's caps, with the same rungs."""

    def __init__(self, *, ratio: float = 0.375) -> None:
        """At this share of the fleet's highest power."""
        self._ratio = ratio
        self._capper: CapperLoop = with_rungs(Rung.CLOCKS)

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn."""
        watts = self._ratio * sum(one.full_watts for one in view.replicas)
        return self._capper.turn(view, [NamedCap(source="constant", watts=watts)])
