"""Sleeping, waking, stopping and starting replicas without losing a request.

    READY -> DRAINING -> ASLEEP -> WAKING -> READY
                      -> STOPPED -> STARTING -> READY       ASLEEP -> STOPPED at once

A replica that is to go first drains: telemetry shows it as not ready, what is on it or still comes
is answered, and it goes when it is empty and the router has had time to see. Each change is booked
with the energy up to it, so that the states' joules add up to the meter's.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from loadtest.simulator.actuators import ActuatorModel, Range, drawn_seconds
from loadtest.simulator.boards import ReplicaState, SimulatedReplica
from loadtest.simulator.events import Events
from loadtest.simulator.state_book import StateBook


class Lifecycle:
    """Changes the states of replicas.

    Attributes:
        counts: Orders that were followed: "sleep", "wake", "stop", "start".
        refused: Orders that were not: of no effect, or the last ready replica of a model to go.
    """

    def __init__(
        self,
        replicas: Mapping[str, SimulatedReplica],
        model: ActuatorModel,
        *,
        events: Events,
        book: StateBook,
        seed: int,
        on_ready: Callable[[SimulatedReplica], None],
    ) -> None:
        """All replicas are ready.

        Args:
            replicas: By address.
            model: Delays.
            events: Where they pass.
            book: Told of every change.
            seed: Of delays.
            on_ready: Called when a replica serves again.
        """
        self._replicas = replicas
        self._model = model
        self._events = events
        self._book = book
        self._seed = seed
        self._on_ready = on_ready
        self._leaving: dict[str, tuple[ReplicaState, float]] = {}
        self.counts: Counter[str] = Counter()
        self.refused = 0

    def sleep(self, address: str) -> None:
        """Drain and offload the weights."""
        self._leave("sleep", self._replicas[address], ReplicaState.ASLEEP)

    def stop(self, address: str) -> None:
        """Drain and end the process; one that is asleep ends at once."""
        replica = self._replicas[address]
        if replica.state is ReplicaState.ASLEEP:
            self.counts["stop"] += 1
            self._stopped(replica)
        else:
            self._leave("stop", replica, ReplicaState.STOPPED)

    def wake(self, address: str) -> None:
        """Load the weights again; one that still drains just stays."""
        self._return(
            "wake",
            self._replicas[address],
            asleep=ReplicaState.ASLEEP,
            through=ReplicaState.WAKING,
            within=self._model.wake_seconds,
        )

    def start(self, address: str) -> None:
        """Start a process; one that still drains just stays."""
        self._return(
            "start",
            self._replicas[address],
            asleep=ReplicaState.STOPPED,
            through=ReplicaState.STARTING,
            within=self._model.start_seconds,
        )

    def settle(self, replica: SimulatedReplica) -> None:
        """Let a draining replica go if it is empty and its time is over."""
        goal, earliest_seconds = self._leaving.get(replica.address, (None, 0.0))
        if (
            goal is None
            or replica.engine.unfinished
            or replica.stepping
            or self._events.now_seconds < earliest_seconds
        ):
            return
        del self._leaving[replica.address]
        replica.engine.sleep(now_seconds=self._events.now_seconds)
        if goal is ReplicaState.STOPPED:
            self._stopped(replica)
        else:
            self._enter(replica, ReplicaState.ASLEEP)

    def _leave(self, order: str, replica: SimulatedReplica, goal: ReplicaState) -> None:
        if replica.state is not ReplicaState.READY or self._is_last(replica):
            self.refused += 1
            return
        self.counts[order] += 1
        gone_seconds = self._events.now_seconds + self._model.drain_seconds
        self._leaving[replica.address] = (goal, gone_seconds)
        self._enter(replica, ReplicaState.DRAINING)
        self._events.at(gone_seconds, self.settle, replica)

    def _is_last(self, replica: SimulatedReplica) -> bool:
        """Whether a model would be without a ready replica."""
        ready = {
            model
            for other in self._replicas.values()
            if other is not replica and other.state is ReplicaState.READY
            for model in other.models
        }
        return not ready.issuperset(replica.models)

    def _stopped(self, replica: SimulatedReplica) -> None:
        if not self._model.stopped_boards_powered:
            replica.board_powered = False
            replica.engine.draw(0.0, now_seconds=self._events.now_seconds)
        self._enter(replica, ReplicaState.STOPPED)

    def _return(
        self,
        order: str,
        replica: SimulatedReplica,
        *,
        asleep: ReplicaState,
        through: ReplicaState,
        within: Range,
    ) -> None:
        if replica.state is ReplicaState.DRAINING:
            self.counts[order] += 1
            del self._leaving[replica.address]
            self._enter(replica, ReplicaState.READY)
        elif replica.state is asleep:
            self.counts[order] += 1
            replica.board_powered = True
            # The process is there and holds its context, though it does not serve yet.
            replica.engine.draw(
                replica.engine.truth.idle_watts, now_seconds=self._events.now_seconds
            )
            self._enter(replica, through)
            key = f"{self._seed}/{replica.address}/{order}/{self.counts[order]}"
            ready_seconds = self._events.now_seconds + drawn_seconds(within, key=key)
            self._events.at(ready_seconds, self._ready, replica)
        else:
            self.refused += 1

    def _ready(self, replica: SimulatedReplica) -> None:
        replica.engine.wake(now_seconds=self._events.now_seconds)
        self._enter(replica, ReplicaState.READY)
        self._on_ready(replica)

    def _enter(self, replica: SimulatedReplica, state: ReplicaState) -> None:
        self._book.change(replica, state, now_seconds=self._events.now_seconds)
        replica.state = state
