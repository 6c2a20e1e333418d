"""What the router metered, against itself and against the simulated boards' own meters. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONSERVATION_LIMIT_RATIO = 0.001
"""How far the sum of request joules may be from the integrated busy joules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyAccount:
    """Both sides of an arm's energy.

    Attributes:
        request_joules: Sum over requests, as the router metered each.
        own_busy_joules: Its integral of power while they were in flight, less others' share.
        foreign_joules: That share: load that the router saw and did not send.
        metered_joules: All its integral of power, idle replicas included.
        fleet_busy_joules: True energy of the boards while they ran steps.
        fleet_joules: True energy of the boards.
        unknown_seconds: Replica time with requests and without known watts.
        some_slept: Whether replicas were put to sleep: the router does not meter those.
    """

    request_joules: float
    own_busy_joules: float
    foreign_joules: float
    metered_joules: float
    fleet_busy_joules: float
    fleet_joules: float
    unknown_seconds: float
    some_slept: bool = False

    @property
    def conservation_ratio(self) -> float | None:
        """Sum of requests over busy integral, minus 1."""
        return _off(self.request_joules, self.own_busy_joules)

    @property
    def busy_error_ratio(self) -> float | None:
        """The router's busy integral over the boards' own, minus 1."""
        return _off(self.own_busy_joules + self.foreign_joules, self.fleet_busy_joules)

    @property
    def fleet_error_ratio(self) -> float | None:
        """The router's whole integral over the boards' own, minus 1."""
        return _off(self.metered_joules, self.fleet_joules)

    @property
    def conserved(self) -> bool:
        """Whether the requests' joules are the busy joules, within the limit."""
        ratio = self.conservation_ratio
        return ratio is None or abs(ratio) <= CONSERVATION_LIMIT_RATIO

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "request_joules": self.request_joules,
            "own_busy_joules": self.own_busy_joules,
            "foreign_joules": self.foreign_joules,
            "metered_joules": self.metered_joules,
            "simulated_fleet_busy_joules": self.fleet_busy_joules,
            "simulated_fleet_joules": self.fleet_joules,
            "unknown_seconds": self.unknown_seconds,
            "conservation_ratio": self.conservation_ratio,
            "busy_error_ratio": self.busy_error_ratio,
            "fleet_error_ratio": self.fleet_error_ratio,
            "conserved": self.conserved,
            "some_slept": self.some_slept,
        }

    def sentences(self) -> list[str]:
        """For people: first the conservation, then the honest difference to the boards."""
        sign = "=" if self.conserved else "IS NOT"
        limit = f"{CONSERVATION_LIMIT_RATIO:.1%}"
        conserved = (
            f"sum of request joules {_kilo(self.request_joules)} {sign} integrated busy joules "
            f"{_kilo(self.own_busy_joules)} within {limit} "
            f"(difference {_percent(self.conservation_ratio)})"
        )
        measured = (
            "against the simulated boards' own meters: "
            f"busy {_percent(self.busy_error_ratio)} of {_kilo(self.fleet_busy_joules)}, "
            f"all {_percent(self.fleet_error_ratio)} of {_kilo(self.fleet_joules)} "
            "(the router reads watts once a second, and late"
            f"{', and does not meter replicas that sleep' if self.some_slept else ''})"
        )
        return [conserved, measured]


def energy_account(
    metered: tuple[Mapping[str, Any], Mapping[str, Any]],
    fleet: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> EnergyAccount:
    """Differences between two readings of each side.

    Args:
        metered: /debug/energy of the router, before and after.
        fleet: Totals of the simulated fleet (loadtest.fleet_control), before and after.
    """
    was, now = metered

    def backends(name: str) -> float:
        old = sum(backend[name] for backend in was["backends"].values())
        return float(sum(backend[name] for backend in now["backends"].values()) - old)

    busy_joules = backends("busy_joules")
    true_busy_joules = true_joules = 0.0
    seconds = fleet[1]["simulated_seconds"] - fleet[0]["simulated_seconds"]
    for name, after in fleet[1]["replicas"].items():
        before = fleet[0]["replicas"][name]
        idle_joules = after["idle_joules"] - before["idle_joules"]
        dynamic_joules = after["dynamic_joules"] - before["dynamic_joules"]
        busy_ratio = (after["busy_seconds"] - before["busy_seconds"]) / seconds
        true_busy_joules += dynamic_joules + idle_joules * busy_ratio
        true_joules += dynamic_joules + idle_joules
    return EnergyAccount(
        request_joules=now["request_joules"] - was["request_joules"],
        own_busy_joules=now["own_busy_joules"] - was["own_busy_joules"],
        foreign_joules=backends("foreign_joules"),
        metered_joules=busy_joules + backends("idle_joules"),
        fleet_busy_joules=true_busy_joules,
        fleet_joules=true_joules,
        unknown_seconds=backends("unknown_seconds"),
    )


def _off(value: float, against: float) -> float | None:
    return value / against - 1.0 if against else None


def _kilo(joules: float) -> str:
    return f"{joules / 1000:.3f} kJ"


def _percent(ratio: float | None) -> str:
    return "?" if ratio is None else f"{ratio:+.3%}"
