"""Sharing a parent's watts over its children: max-min fair by weight, conserved exactly.

For caps that add up to more than their parent's, and for several configurations under one feed.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One child.

    Attributes:
        demand_watts: What it would use: present watts and wanted growth.
        cap_watts: Its own cap.
        floor_watts: What it draws at its floors; served first.
        weight: Its part of what is short, against the others' (> 0).
        priority: Higher is served first.
    """

    demand_watts: float
    cap_watts: float
    floor_watts: float = 0.0
    weight: float = 1.0
    priority: int = 0


def shares(parent_watts: float, claims: Mapping[str, Claim]) -> dict[str, float]:
    """Watts by child: none above its cap, together never above the parent's.

    Floors first (scaled down alike when even they do not fit), then demands by priority, within one
    priority by water-filling, then what is left up to the caps in the same order: so a child may
    grow into what nobody uses.
    """
    left = max(0.0, parent_watts)
    granted = dict.fromkeys(claims, 0.0)
    order = sorted({claim.priority for claim in claims.values()}, reverse=True)
    floors = {name: min(claim.floor_watts, claim.cap_watts) for name, claim in claims.items()}
    left = _fill(left, floors, granted, claims)
    for limit in (_demands(claims), {name: claim.cap_watts for name, claim in claims.items()}):
        for priority in order:
            level = {
                name: watts for name, watts in limit.items() if claims[name].priority == priority
            }
            left = _fill(left, level, granted, claims)
    return granted


def _demands(claims: Mapping[str, Claim]) -> dict[str, float]:
    return {name: min(claim.demand_watts, claim.cap_watts) for name, claim in claims.items()}


def _fill(
    left: float,
    limits: Mapping[str, float],
    granted: dict[str, float],
    claims: Mapping[str, Claim],
) -> float:
    """Raise all together, by weight, each up to its limit; returns what is left."""
    thirsty = [name for name in limits if limits[name] > granted[name]]
    # The one that is full first, first: then a single pass fills all.
    thirsty.sort(key=lambda name: (limits[name] - granted[name]) / claims[name].weight)
    weight = sum(claims[name].weight for name in thirsty)
    for name in thirsty:
        portion = left * claims[name].weight / weight if weight > 0.0 else left
        given = min(left, portion, limits[name] - granted[name])
        granted[name] += given
        left -= given
        weight -= claims[name].weight
    return max(0.0, left)
