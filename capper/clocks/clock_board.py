"""The clocks that agents hold, and the profiles that the router is to believe at them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from capper.clocks.board import lower
from capper.decide.clock_model import ClockCurve
from capper.decide.clocked import PhaseClocks, profile_at_clock
from capper.decide.policy import Policy
from fleet.snapshot import FleetSnapshot
from fleet.topology import Backend, Fleet
from fleet.units import HERTZ_PER_MEGAHERTZ


@dataclass(frozen=True, slots=True)
class BackendClock:
    """What a backend is held to.

    Attributes:
        curve: How it follows its clock.
        hertz: The lock; None: none.
        limit_watts: Power limit of a replica; None: none.
    """

    curve: ClockCurve
    hertz: float | None = None
    limit_watts: float | None = None

    def with_lower(self, other: "BackendClock") -> "BackendClock":
        """The lower of each."""
        return BackendClock(
            self.curve,
            lower(self.hertz, other.hertz),
            lower(self.limit_watts, other.limit_watts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockBoard:
    """All clocks that are locked.

    Attributes:
        clocks: By backend.
        expires_seconds: Monotonic time after which the leases have run out.
    """

    clocks: Mapping[str, BackendClock] = field(default_factory=dict)
    expires_seconds: float = float("-inf")


class ClockedFleet:
    """The fleet with the profiles of the clocks in force; one reference, written by the capper.

    Attributes:
        current: The clocks.
    """

    def __init__(self) -> None:
        """Start with no lock."""
        self.current = ClockBoard()
        self._shown: tuple[Fleet, Mapping[str, BackendClock], Fleet] | None = None

    def seen_by_router(self, snapshot: FleetSnapshot, *, now_seconds: float) -> FleetSnapshot:
        """The snapshot at these clocks. The same fleet object while neither changes."""
        board = self.current
        clocks = board.clocks if now_seconds < board.expires_seconds else {}
        if not clocks:
            return snapshot
        shown = self._shown
        if shown is None or shown[0] is not snapshot.fleet or shown[1] != clocks:
            backends = tuple(_clocked(one, clocks.get(one.name)) for one in snapshot.fleet.backends)
            shown = self._shown = (snapshot.fleet, clocks, Fleet(backends))
        return replace(snapshot, fleet=shown[2])


def followed(
    parts: Iterable[tuple[Policy, Mapping[str, Any]]], *, expires_seconds: float
) -> ClockBoard:
    """The clocks that the leader's statuses say, for those who do not lead.

    Args:
        parts: (policy, status) of each configuration.
        expires_seconds: Monotonic time after which this is not believed.
    """
    clocks: dict[str, BackendClock] = {}
    for policy, status in parts:
        curve = next((one.clocks for one in policy.targets if one.clocks is not None), None)
        for target in status.get("targets") or ():
            backend, mega_hertz = target.get("backend"), target.get("clockMegaHertz")
            limit_watts = target.get("limitWattsPerReplica")
            if curve is not None and backend and (mega_hertz or limit_watts):
                hertz = mega_hertz * HERTZ_PER_MEGAHERTZ if mega_hertz else None
                found = BackendClock(curve, hertz, limit_watts)
                clocks[backend] = found.with_lower(clocks.get(backend, found))
    return ClockBoard(clocks=clocks, expires_seconds=expires_seconds)


def phase_clocks(curve: ClockCurve) -> PhaseClocks:
    """A configuration's curve is that of decodes; prompts follow the clock as everywhere."""
    return PhaseClocks(
        base_hertz=curve.base_hertz,
        knee_hertz=curve.knee_hertz,
        static_watts=curve.static_watts,
        decode_time_share=curve.time_share,
        decode_power_share=curve.power_share,
    )


def _clocked(backend: Backend, clock: BackendClock | None) -> Backend:
    if clock is None:
        return backend
    hertz = clock.curve.base_hertz if clock.hertz is None else clock.hertz
    watts = math.inf if clock.limit_watts is None else clock.limit_watts
    profile = profile_at_clock(backend.profile, phase_clocks(clock.curve), hertz, limit_watts=watts)
    return replace(backend, profile=profile)
