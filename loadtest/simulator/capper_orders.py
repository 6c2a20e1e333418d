"""Carries the capper's plan out on simulated replicas: who stops, who starts, what is locked."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from capper.decide.clocked import PhaseClocks, profile_at_clock
from fleet.profile import Profile
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.capper_view import PRESENT, by_backend
from loadtest.simulator.control import (
    Action,
    ControlView,
    ReplicaView,
    SetClock,
    SetPowerLimit,
    SetProfiles,
    Sleep,
    Start,
    Stop,
    Wake,
)

# What a board draws at the least under load, in shares of its full power: fits of A100 sweeps.
_STATIC_RATIO = 0.1


def phase_clocks(one: ReplicaView) -> PhaseClocks:
    """What the capper is told of a board's clocks: declared figures, not the simulator's truth."""
    return PhaseClocks(
        base_hertz=one.max_clock_hertz,
        knee_hertz=one.knee_clock_hertz,
        static_watts=_STATIC_RATIO * one.full_watts,
    )


def victims(members: Iterable[ReplicaView]) -> list[ReplicaView]:
    """Present replicas, those whose end costs least first.

    Not serving yet, then not in the router's plan, then the fewest requests.
    """
    return sorted(
        (one for one in members if one.state in PRESENT),
        key=lambda one: (
            one.state is ReplicaState.READY,
            one.committed,
            (one.running or 0.0) + (one.waiting or 0.0),
            one.address,
        ),
    )


def scale(view: ControlView, bounds: Mapping[str, int], *, sleeps: bool) -> Iterator[Action]:
    """What an autoscaler that wants every replica does under its bounds.

    Args:
        view: As seen.
        bounds: Backend -> how many may run.
        sleeps: Engines are put to sleep and woken, in seconds; else pods end and start, in minutes.
    """
    leave, come = (Sleep, Wake) if sleeps else (Stop, Start)
    gone = ReplicaState.ASLEEP if sleeps else ReplicaState.STOPPED
    for backend, members in by_backend(view.replicas).items():
        order = victims(members)
        surplus = len(order) - bounds[backend]
        # One that is still starting cannot be called back: it is stopped once it serves.
        yield from (
            leave(one.address)
            for one in order[: max(0, surplus)]
            if one.state is ReplicaState.READY
        )
        stopped = [one for one in members if one.state in {gone, ReplicaState.DRAINING}]
        yield from (come(one.address) for one in stopped[: max(0, -surplus)])


def lock(
    members: Sequence[ReplicaView],
    hertz: float | None,
    profile: Profile | None,
    *,
    limit_watts: float | None = None,
) -> Iterator[Action]:
    """Clocks and power limits of a backend, and the profile that the router is to have at them."""
    yield from (SetClock(one.address, hertz) for one in members)
    yield from (SetPowerLimit(one.address, limit_watts) for one in members)
    if profile is not None:
        told = profile_at_clock(
            profile,
            phase_clocks(members[0]),
            members[0].max_clock_hertz if hertz is None else hertz,
            limit_watts=math.inf if limit_watts is None else limit_watts,
        )
        yield SetProfiles({members[0].backend: told})
