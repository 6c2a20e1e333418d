"""What goes wrong: begins and ends the faults of a world, but for those that sensors do."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from loadtest.simulator.boards import SimulatedReplica
from loadtest.simulator.events import Events
from loadtest.simulator.gateway import Gateway
from loadtest.simulator.sensors import Bias, Outage
from loadtest.simulator.world import Fault

_OF_SENSORS = frozenset({"power-bias", "sensor-lost"})


def sensor_biases(faults: Sequence[Fault]) -> dict[str | None, list[Bias]]:
    """By address; None: of all boards."""
    found: dict[str | None, list[Bias]] = defaultdict(list)
    for fault in faults:
        if fault.kind == "power-bias":
            found[fault.address].append(Bias(fault.start_seconds, fault.end_seconds, fault.ratio))
    return found


def sensor_outages(faults: Sequence[Fault]) -> dict[str | None, list[Outage]]:
    """By address; None: of all boards."""
    found: dict[str | None, list[Outage]] = defaultdict(list)
    for fault in faults:
        if fault.kind == "sensor-lost":
            found[fault.address].append(Outage(fault.start_seconds, fault.end_seconds))
    return found


class FaultInjector:
    """Breaks and mends.

    Attributes:
        telemetry_lost: Whether scrapes are lost now.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        replicas: Mapping[str, SimulatedReplica],
        gateway: Gateway,
        *,
        events: Events,
        on_mend: Callable[[SimulatedReplica], None],
    ) -> None:
        """All is well; `on_mend` is called with a replica that goes on."""
        self._faults = faults
        self._replicas = replicas
        self._gateway = gateway
        self._events = events
        self._on_mend = on_mend
        self.telemetry_lost = False

    def start(self) -> None:
        """Enter all faults."""
        for fault in self._faults:
            if fault.kind not in _OF_SENSORS:
                self._events.at(fault.start_seconds, self._set, (fault, True))
                self._events.at(fault.end_seconds, self._set, (fault, False))

    def _set(self, subject: tuple[Fault, bool]) -> None:
        fault, active = subject
        if fault.kind == "telemetry-lost":
            self.telemetry_lost = active
        elif fault.kind == "router-away":
            self._gateway.router_away = active
        elif fault.kind == "replica-wedged":
            assert fault.address is not None, "a wedged replica has an address"
            replica = self._replicas[fault.address]
            replica.wedged = active
            self._on_mend(replica)
        else:
            raise ValueError(f"there is no fault {fault.kind!r}")
