"""How long each state of a replica lasted, and what was drawn in it. Pure."""

from collections.abc import Iterable

from loadtest.simulator.boards import ReplicaState, SimulatedReplica


class StateBook:
    """Sums over replicas from `open` to `close`; nothing is booked before or after.

    Attributes:
        joules: Board energy by state.
        seconds: Replica-seconds by state.
    """

    __slots__ = ("_since", "joules", "seconds")

    def __init__(self) -> None:
        """Closed."""
        self._since: dict[str, tuple[float, float]] = {}
        self.joules = dict.fromkeys(map(str, ReplicaState), 0.0)
        self.seconds = dict.fromkeys(map(str, ReplicaState), 0.0)

    def open(self, replicas: Iterable[SimulatedReplica], *, now_seconds: float) -> None:
        """Book from now on."""
        for replica in replicas:
            joules = replica.engine.energy(now_seconds).joules
            self._since[replica.address] = (now_seconds, joules)

    def change(self, replica: SimulatedReplica, state: ReplicaState, *, now_seconds: float) -> None:
        """A replica leaves its state for `state`; call it before anything is changed."""
        if replica.address in self._since and state is not replica.state:
            self._book(replica, now_seconds)

    def close(self, replicas: Iterable[SimulatedReplica], *, now_seconds: float) -> None:
        """Book up to now and no further."""
        for replica in replicas:
            self._book(replica, now_seconds)
        self._since.clear()

    def _book(self, replica: SimulatedReplica, now_seconds: float) -> None:
        seconds, joules = self._since[replica.address]
        total_joules = replica.engine.energy(now_seconds).joules
        self.seconds[replica.state] += now_seconds - seconds
        self.joules[replica.state] += total_joules - joules
        self._since[replica.address] = (now_seconds, total_joules)
