"""Which pods a planned cut is to take first: of racks over a limit, then the hottest. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from capper.decide.rack_room import Heat, PlacementRules, Rack, drawn_watts, temperature

VICTIM_COST = -1000
"""Pods of the lowest cost go first; those without one count as 0."""


class RackedPod(NamedTuple):
    """A pod that may be cut.

    Attributes:
        name: Unique in its namespace.
        rack: Where it runs; None: in none that is known.
        created_seconds: When it was created, epoch seconds.
    """

    name: str
    rack: str | None
    created_seconds: float


def victims(
    pods: Sequence[RackedPod], racks: Sequence[Rack], count: int, rules: PlacementRules
) -> tuple[str, ...]:
    """The names of `count` pods at most, in the order in which their racks want to be rid of them.

    Racks over their cap or their inlet limit first, by how far; then by inlet temperature; then by
    how full they are. Of one rack the youngest pod. No pod of a rack of which nothing is known.
    """
    worst = {one.name: _misery(one, rules) for one in racks}
    known = [(worst[pod.rack], pod) for pod in pods if pod.rack is not None and pod.rack in worst]
    usable = [(misery, pod) for misery, pod in known if misery is not None]
    order = sorted(
        usable,
        key=lambda pair: (*(-part for part in pair[0]), -pair[1].created_seconds, pair[1].name),
    )
    # Where all racks are equally well off there is nothing to steer.
    if len({misery for misery, _ in usable}) <= 1:
        return ()
    return tuple(pod.name for _, pod in order[: max(0, count)])


def costs(names: Sequence[str]) -> Mapping[str, int]:
    """The deletion cost of each victim, the first the lowest."""
    return {name: VICTIM_COST - len(names) + number for number, name in enumerate(names, start=1)}


def _misery(rack: Rack, rules: PlacementRules) -> tuple[float, float, float] | None:
    """(part over a limit, inlet in Celsius, part of the cap drawn); None: nothing is known."""
    drawn = drawn_watts(rack, rules)
    known, celsius = temperature(rack.inlet, rules)
    hot = known is Heat.KNOWN
    if drawn is None and not hot:
        return None
    overs = [0.0]
    if drawn is not None:
        overs.append(drawn / rack.cap_watts - 1.0)
    if hot and rack.max_inlet_celsius is not None and rack.max_inlet_celsius > 0.0:
        overs.append(celsius / rack.max_inlet_celsius - 1.0)
    return max(overs), celsius if hot else 0.0, (drawn or 0.0) / rack.cap_watts
