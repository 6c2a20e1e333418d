"""The clock loop: every backend at the clock of the fewest joules per token that carries the load.

`capper.decide.clocked` says what a clock comes to when the router packs up to the objective at it;
the router has the profile of the new clock with its next snapshot.
"""

from collections.abc import Iterable, Iterator, Mapping

from capper.decide.clocked import PackedPoint, packed_points
from fleet.physics import Mix
from fleet.profile import Profile
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.topology import Backend
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.capper_orders import lock, phase_clocks
from loadtest.simulator.capper_view import by_backend
from loadtest.simulator.control import Action, Controller, ControlView, ReplicaView

_TURN_SECONDS = 5.0
# Clocks fall after the load was low for so long, and rise at once.
_FALL_SECONDS = 30.0
# Part of a fleet's capacity that its mean load may take; arrivals of chat come in bursts.
_LOAD_RATIO = 0.65
# Of each turn's measurement in the running mean of the mix.
_NEW_SHARE = 0.1
_LEVELS = 6


class ClockLoop:
    """Sets clocks by the load and the mix of requests."""

    def __init__(self) -> None:
        """Nothing seen, nothing locked."""
        self._profiles: dict[str, Profile] = {}
        self._freshness = FreshnessPolicy()
        self._mix: Mix | None = None
        self._next_seconds = 0.0
        self._lower_since: float | None = None
        self._locked: dict[str, float] = {}

    def decide(self, view: ControlView) -> Iterable[Action]:
        """New locks, every few seconds."""
        if view.snapshot is None or view.now_seconds < self._next_seconds:
            return []
        self._next_seconds = view.now_seconds + _TURN_SECONDS
        if not self._profiles:
            self._profiles = {one.name: one.profile for one in view.snapshot.fleet.backends}
        mix = self._mix_of(view)
        return [] if mix is None else list(self._set(view, mix))

    def _set(self, view: ControlView, mix: Mix) -> Iterator[Action]:
        assert view.snapshot is not None, "asked by decide"
        described = {one.name: one for one in view.snapshot.fleet.backends}
        members = by_backend(view.replicas)
        points = {
            name: self._points(described[name], replicas, mix) for name, replicas in members.items()
        }
        wanted = _least_clocks(view, members, points)
        lower = any(hertz < self._locked.get(name, hertz) for name, hertz in wanted.items())
        higher = any(hertz > self._locked.get(name, 0.0) for name, hertz in wanted.items())
        if lower and not higher:
            if self._lower_since is None:
                self._lower_since = view.now_seconds
            if view.now_seconds - self._lower_since < _FALL_SECONDS and self._locked:
                return
        self._lower_since = None
        for name, hertz in wanted.items():
            if self._locked.get(name) != hertz:
                self._locked[name] = hertz
                yield from lock(members[name], hertz, self._profiles[name])

    def _points(
        self, backend: Backend, replicas: list[ReplicaView], mix: Mix
    ) -> tuple[PackedPoint, ...]:
        objective = backend.objective
        return packed_points(
            self._profiles[backend.name],
            phase_clocks(replicas[0]),
            mix,
            tpot_limit_seconds=objective.tpot_seconds * objective.margin_ratio,
        )

    def _mix_of(self, view: ControlView) -> Mix | None:
        """The mean request of the fleet, from counters and the router's estimate of the load."""
        requests = sum(view.requests_per_second.values())
        prompts = self._sum(view, SignalKind.PROMPT_TOKENS_PER_SECOND)
        outputs = self._sum(view, SignalKind.GENERATION_TOKENS_PER_SECOND)
        if requests > 0.0 and prompts and outputs:
            new = Mix(
                prompt_tokens=prompts / requests,
                computed_prompt_tokens=prompts / requests,
                output_tokens=max(1.0, outputs / requests),
            )
            self._mix = new if self._mix is None else _between(self._mix, new)
        return self._mix

    def _sum(self, view: ControlView, kind: SignalKind) -> float:
        assert view.snapshot is not None, "asked by decide"
        found = (
            self._freshness.fresh_value(
                view.snapshot.of(one.address).get(kind), now_seconds=view.now_seconds
            )
            for one in view.replicas
        )
        return sum(value for value in found if value is not None)


class Both:
    """Several loops side by side; each is shown the same view."""

    def __init__(self, *loops: Controller) -> None:
        """In the order in which their orders are given."""
        self._loops = loops

    def decide(self, view: ControlView) -> Iterable[Action]:
        """The orders of all."""
        return [action for loop in self._loops for action in loop.decide(view)]


def _least_clocks(
    view: ControlView,
    members: Mapping[str, list[ReplicaView]],
    points: Mapping[str, tuple[PackedPoint, ...]],
) -> dict[str, float]:
    """The lowest level, the same part of the way up for all backends, that carries the load."""
    load = sum(view.requests_per_second.values())
    chosen: dict[str, float] = {}
    for level in range(_LEVELS + 1):
        at = {
            name: steps[round((len(steps) - 1) * level / _LEVELS)] for name, steps in points.items()
        }
        chosen = {name: point.hertz for name, point in at.items()}
        capacity = sum(
            at[name].requests_per_second
            for name, replicas in members.items()
            for one in replicas
            if one.state is ReplicaState.READY
        )
        if capacity * _LOAD_RATIO >= load:
            break
    if _short(view):
        return {name: steps[-1].hertz for name, steps in points.items()}
    return chosen


def _short(view: ControlView) -> bool:
    """Whether the router's plan finds no more replicas for the load."""
    return any(one.shortfall_requests_per_second > 0.0 for one in view.commitments.values())


def _between(old: Mix, new: Mix) -> Mix:
    def mean(before: float, now: float) -> float:
        return before + _NEW_SHARE * (now - before)

    return Mix(
        prompt_tokens=mean(old.prompt_tokens, new.prompt_tokens),
        computed_prompt_tokens=mean(old.computed_prompt_tokens, new.computed_prompt_tokens),
        output_tokens=mean(old.output_tokens, new.output_tokens),
    )
