"""What a timeline shows beside watts and batches: caps, air, clocks, lives, prices, the grid."""

from typing import Protocol

from loadtest.simulator.boards import ReplicaState, SimulatedReplica
from loadtest.simulator.simulation import Simulation

_RESTING = frozenset({ReplicaState.ASLEEP, ReplicaState.STOPPED})


class Series(Protocol):
    """Named values of one moment; the names are the same at every one."""

    def __call__(self, now_seconds: float, simulation: Simulation) -> dict[str, float]:
        """Read them."""
        ...


def day_series(now_seconds: float, simulation: Simulation) -> dict[str, float]:
    """Every slow thing by name: unit first, then after a slash whose it is.

    `cap_watts`, `supply_celsius`, `inlet_celsius/RACK`, `clock_ratio/BACKEND` (of the full clock),
    `awake_replicas/BACKEND`, `price_ratio/RACK`, `grams_per_kilowatt_hour`.
    """
    world, climate = simulation.world, simulation.watch.climate
    found: dict[str, float] = {}
    if world.caps.fleet is not None:
        found["cap_watts"] = world.caps.fleet.at(now_seconds)
    if climate is not None:
        found["supply_celsius"] = climate.supply_celsius
        for rack, celsius in climate.inlets_celsius.items():
            found[f"inlet_celsius/{rack}"] = celsius
    if world.carbon is not None:
        found["grams_per_kilowatt_hour"] = world.carbon.at(now_seconds)
    for backend, members in _by_backend(simulation).items():
        ratios = [one.engine.truth.clock_hz / one.full_truth.max_clock_hz for one in members]
        found[f"clock_ratio/{backend}"] = sum(ratios) / len(ratios)
        found[f"awake_replicas/{backend}"] = sum(one.state not in _RESTING for one in members)
    prices = simulation.actuation.prices
    for rack in dict.fromkeys(one.rack for one in simulation.replicas.values()):
        found[f"price_ratio/{rack}"] = prices.ratio(rack, now_seconds=now_seconds)
    return found


def _by_backend(simulation: Simulation) -> dict[str, list[SimulatedReplica]]:
    found: dict[str, list[SimulatedReplica]] = {}
    for one in simulation.replicas.values():
        found.setdefault(one.backend, []).append(one)
    return found
