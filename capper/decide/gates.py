"""What becomes of pods at their gate: a rack, patience, or the gate lifted as it is. Pure.

Pods are taken in the order of their creation. What one is given is reserved before the next is
looked at, so that the sum of measured, reserved and new watts never passes a cap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from capper.decide.placement import Choice, PlacementPolicy, Ranking, rank
from capper.decide.rack_room import Feed, PlacementRules, Rack
from capper.decide.smoothing_hints import PeakBoard, placement_hints, with_replica
from fleet.thermal import ThermalModel


class Fate(StrEnum):
    """What is done with a gated pod."""

    PLACED = "placed"
    WAITS = "waits"
    LET_GO = "let_go"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedPod:
    """A pod at its gate.

    Attributes:
        key: Unique: its uid.
        age_seconds: Since it was created.
        watts: What it will draw; None: nobody tells.
        racks: Racks with a node that it may go to; None: not known, any.
        service: Of which it is a replica, as smoothing names it; None: none that it knows.
    """

    key: str
    age_seconds: float
    watts: float | None
    racks: frozenset[str] | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """How pods are placed.

    Attributes:
        policy: How racks are ordered.
        gate_seconds: No pod waits longer.
        rankings: Racks are ranked so often in one turn at most: with a hundred racks and a matrix
            that takes some 10 ms of a loop that serves requests, too. Who is not looked at waits.
        placement: What is believed and kept free.
    """

    policy: PlacementPolicy = PlacementPolicy.HEADROOM
    gate_seconds: float = 30.0
    rankings: int = 16
    placement: PlacementRules = field(default_factory=PlacementRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDecision:
    """What becomes of one pod.

    Attributes:
        key: Of the pod.
        fate: What is done.
        reason: One sentence, without its full stop.
        rack: Where it goes, when it is placed.
        watts: Reserved there.
        avoid: Racks over one of their limits: the pod must not go there, wherever else it goes.
    """

    key: str
    fate: Fate
    reason: str
    rack: str | None = None
    watts: float = 0.0
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomView:
    """The room as it is believed to be.

    Attributes:
        racks: All, each name once, with what is reserved.
        feeds: Domains above them.
        model: Heat recirculation; None: not known.
        factors: Heat recirculation factors; None: those of the model.
        peaks: Weekly peaks of racks and domains; None: nothing is smoothed.
    """

    racks: tuple[Rack, ...] = ()
    feeds: Mapping[str, Feed]
    model: ThermalModel | None = None
    factors: Mapping[str, float] | None = None
    peaks: PeakBoard | None = None

    def reserving(self, rack: str, watts: float) -> "RoomView":
        """The same with so many watts more set aside in a rack and all that feeds it."""
        above = {name for one in self.racks if one.name == rack for name in one.domains}
        return replace(
            self,
            racks=tuple(
                replace(one, reserved_watts=one.reserved_watts + watts) if one.name == rack else one
                for one in self.racks
            ),
            feeds={
                name: replace(feed, reserved_watts=feed.reserved_watts + watts)
                if name in above
                else feed
                for name, feed in self.feeds.items()
            },
        )


def decide_gates(
    pods: Sequence[GatedPod], room: RoomView, rules: GateRules
) -> tuple[GateDecision, ...]:
    """One decision for each pod, the oldest first."""
    decisions, ranked = [], 0
    full: dict[tuple[float | None, frozenset[str] | None], str] = {}
    for pod in sorted(pods, key=lambda one: (-one.age_seconds, one.key)):
        alike = (pod.watts, pod.racks)
        decision = _without_ranking(pod, rules)
        if decision is None and alike in full:
            # Reservations only ever take room, so what found none for its like finds none now.
            decision = GateDecision(key=pod.key, fate=Fate.WAITS, reason=full[alike])
        elif decision is None and ranked >= rules.rankings:
            decision = GateDecision(key=pod.key, fate=Fate.WAITS, reason="its turn has not come")
        elif decision is None:
            ranked += 1
            decision = _ranked(pod, room, rules)
            if decision.rack is None:
                full[alike] = decision.reason
            else:
                room = _with(room, pod, decision.rack, decision.watts)
        decisions.append(decision)
    return tuple(decisions)


def violating(room: RoomView, rules: PlacementRules) -> tuple[str, ...]:
    """Racks that are over their cap or their temperature limit now, by what is believed."""
    found = []
    for one in room.racks:
        power, inlet = one.power, one.inlet
        hot = (
            inlet is not None
            and inlet.value is not None
            and one.max_inlet_celsius is not None
            and 0.0 <= inlet.age_seconds <= rules.heat_stale_after_seconds
            and one.max_inlet_celsius < inlet.value
        )
        over = (
            power is not None
            and power.value is not None
            and 0.0 <= power.age_seconds <= rules.power_stale_after_seconds
            and one.cap_watts < power.value
        )
        if hot or over:
            found.append(one.name)
    return tuple(sorted(found))


def _with(room: RoomView, pod: GatedPod, rack: str, watts: float) -> RoomView:
    """The room once the pod has its rack."""
    room = room.reserving(rack, watts)
    if room.peaks is None or pod.service is None:
        return room
    return replace(room, peaks=with_replica(room.peaks, pod.service, rack))


def _without_ranking(pod: GatedPod, rules: GateRules) -> GateDecision | None:
    """A pod that is let go whatever the room is like."""
    if pod.watts is None:
        return _let_go(pod, "nobody tells how many watts it will draw")
    if pod.age_seconds >= rules.gate_seconds:
        return _let_go(pod, f"no rack was found within {rules.gate_seconds:g} s")
    return None


def _ranked(pod: GatedPod, room: RoomView, rules: GateRules) -> GateDecision:
    assert pod.watts is not None, "such pods are let go"
    ranking = rank(
        rules.policy,
        room.racks,
        room.feeds,
        replica_watts=pod.watts,
        model=room.model,
        factors=room.factors,
        rules=rules.placement,
    )
    open_to_it = [one for one in ranking.choices if pod.racks is None or one.rack in pod.racks]
    if not open_to_it:
        return GateDecision(key=pod.key, fate=Fate.WAITS, reason=_lacking(pod, ranking))
    best = open_to_it[0]
    if rules.policy is PlacementPolicy.HEADROOM:
        best = _smoothest(open_to_it, pod, room.peaks)
    avoid = tuple(name for name in violating(room, rules.placement) if name != best.rack)
    return GateDecision(
        key=pod.key,
        fate=Fate.PLACED,
        reason=best.reason,
        rack=best.rack,
        watts=pod.watts,
        avoid=avoid,
    )


def _smoothest(choices: Sequence[Choice], pod: GatedPod, peaks: PeakBoard | None) -> Choice:
    """The one where the weekly peaks rise least; the policy's first where that is not known."""
    if peaks is None or pod.service is None:
        return choices[0]
    known = {one.rack: one for one in choices}
    for hint in placement_hints(peaks, pod.service):
        if hint.leaf in known:
            best = known[hint.leaf]
            return replace(best, reason=f"{hint.reason}; {best.reason}")
    return choices[0]


def _let_go(pod: GatedPod, reason: str) -> GateDecision:
    return GateDecision(key=pod.key, fate=Fate.LET_GO, reason=reason)


def _lacking(pod: GatedPod, ranking: Ranking) -> str:
    if ranking.choices:
        return "no node of a rack with room is open to it"
    told = [
        why
        for rack, why in sorted(ranking.excluded.items())
        if pod.racks is None or rack in pod.racks
    ]
    return "no rack has room: " + "; ".join(told) if told else "no rack is open to it"
