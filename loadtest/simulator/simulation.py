"""The discrete-event simulation: one event is an arrival, an engine step, a scrape or a tick.

Deterministic: the same world, arm, arrivals and seed give the same result. The decision is the
production code (`router.decide.picker.Picker`), told of virtual seconds. This module joins the
parts and moves requests through them; what each part does is in its own module.
"""

from collections.abc import Iterator
from typing import Protocol

from loadtest.arrivals import Arrival
from loadtest.simulator.actuation import Actuation
from loadtest.simulator.boards import SimulatedReplica, SimulatedRequest
from loadtest.simulator.control_room import ControlRoom
from loadtest.simulator.events import Events
from loadtest.simulator.faults import FaultInjector, sensor_biases, sensor_outages
from loadtest.simulator.gateway import Gateway
from loadtest.simulator.lifecycle import Lifecycle
from loadtest.simulator.observation import Observatory
from loadtest.simulator.plant import Plant, overhead_watts_of, replicas_of
from loadtest.simulator.power_watch import PowerWatch
from loadtest.simulator.result import MeterReading, run_accounts, run_result
from loadtest.simulator.sensor_bank import SensorBank
from loadtest.simulator.state_book import StateBook
from loadtest.simulator.tally import RunResult, Tally
from loadtest.simulator.world import Arm, Fault, World
from router.decide.picker import Picker
from telemetry.reading import Reading

__all__ = ["Arm", "Fault", "Observer", "Simulation", "World"]

_COMMIT_SECONDS = 1.0
# The first plan and the first control period follow the first scrape.
_FIRST_COMMIT_SECONDS = 0.01
_FIRST_CONTROL_SECONDS = 0.5


class Observer(Protocol):
    """Somebody who looks on, once a simulated second: progress bars and time series."""

    def __call__(self, now_seconds: float, simulation: "Simulation") -> None:
        """Look."""
        ...


class Simulation:
    """One run. Make it, `run` it once, read the result.

    Attributes:
        world: What is simulated.
        arm: Who decides.
        seed: Of sensor gains, actuator delays and the policy's draws.
        replicas: By address.
        tally: Running sums.
        lifecycle: Sleeps and starts replicas.
        actuation: Sets clocks, limits and prices.
        watch: Caps, rack air and carbon.
        book: Time and joules by state of the replicas.
    """

    def __init__(
        self, world: World, arm: Arm, arrivals: Iterator[Arrival], *, seed: int = 0
    ) -> None:
        """Prepare.

        Args:
            world: What is simulated.
            arm: The policy.
            arrivals: In order of time; pulled one by one.
            seed: Of sensor gains, actuator delays and the policy's draws.
        """
        self.world, self.arm, self.seed = world, arm, seed
        self._arrivals = arrivals
        self._events = events = Events(last_seconds=world.end_seconds)
        self._committed: dict[str, frozenset[str]] = {}
        self.replicas = replicas_of(world)
        objective = world.fleet.backends[0].objective
        self.tally = Tally(
            ttft_objective_seconds=objective.ttft_seconds,
            tpot_objective_seconds=objective.tpot_seconds,
        )
        self._plant = Plant(
            self.replicas,
            events=events,
            on_finish=self._finish,
            on_empty=self._emptied,
        )
        self._gateway = Gateway(world, arm, self.replicas, tally=self.tally, seed=seed)
        self._sensors = SensorBank(
            self.replicas,
            world.sensors,
            events=events,
            seed=seed,
            outages=sensor_outages(world.faults),
            biases=sensor_biases(world.faults),
        )
        self._observatory = Observatory(world.fleet, self.replicas, self._sensors)
        self._faults = FaultInjector(
            world.faults, self.replicas, self._gateway, events=events, on_mend=self._plant.step
        )
        self.book = StateBook()
        self.lifecycle = Lifecycle(
            self.replicas,
            world.actuators,
            events=events,
            book=self.book,
            seed=seed,
            on_ready=self._plant.step,
        )
        self.actuation = Actuation(
            self.replicas,
            world.actuators,
            events=events,
            lifecycle=self.lifecycle,
            on_profiles=self._observatory.describe,
            on_supply=self._cool,
            seed=seed,
        )
        self.watch = PowerWatch(
            self.replicas,
            caps=world.caps,
            room=world.room,
            carbon=world.carbon,
            overhead_watts=overhead_watts_of(world),
            events=events,
        )
        self._control = self._control_room()
        self._before = self._after = MeterReading.of(self.replicas, 0.0)

    @property
    def now_seconds(self) -> float:
        """Virtual time."""
        return self._events.now_seconds

    @property
    def picker(self) -> Picker:
        """The router's mind."""
        return self._gateway.picker

    @picker.setter
    def picker(self, picker: Picker) -> None:
        """Before the run: another one, to look into what it is told."""
        self._gateway.picker = picker

    def run(self, observer: Observer | None = None) -> RunResult:
        """Play all arrivals and wait for all answers."""
        world, events = self.world, self._events
        events.at(0.0, self._scrape)
        events.at(_FIRST_COMMIT_SECONDS, self._commit)
        events.at(world.warmup_seconds, self._begin)
        events.at(world.end_seconds, self._end)
        self._faults.start()
        self._sensors.start()
        self.watch.start(begin_seconds=world.warmup_seconds, end_seconds=world.end_seconds)
        if self._control is not None:
            events.at(_FIRST_CONTROL_SECONDS, self._decide, self._control)
        if observer is not None:
            events.at(0.0, self._show, observer)
        self._pull()
        events.run()
        return run_result(
            self.replicas,
            self.tally,
            self._before,
            self._after,
            arm=self.arm.name,
            seed=self.seed,
            window_seconds=world.window_seconds,
            accounts=run_accounts(
                self._before,
                self._after,
                watch=self.watch,
                book=self.book,
                lifecycle=self.lifecycle,
                clock_changes=self.actuation.changes,
                brakes=self.actuation.brakes,
                retried_requests=self._gateway.retried,
            ),
        )

    # Requests

    def _pull(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is None or arrival.at_seconds >= self.world.end_seconds:
            self._events.arriving = False
        else:
            self._events.at(arrival.at_seconds, self._arrive, arrival)

    def _arrive(self, arrival: Arrival) -> None:
        self._pull()
        now_seconds = self.now_seconds
        measured = now_seconds >= self.world.warmup_seconds
        if measured:
            self.tally.offer(arrival.tenant)
        if self.arm.sees_truth:
            self._observe(self._observatory.scrape(now_seconds))
        replica, ticket = self._gateway.route(arrival, now_seconds=now_seconds, measured=measured)
        if replica is None:
            self.tally.shed += measured
            return
        if measured:
            self.tally.send(replica.address, replica.backend)
        self._plant.submit(arrival, replica, ticket=ticket, measured=measured)

    def _finish(self, request: SimulatedRequest) -> None:
        if request.ticket is not None:
            self.picker.settle(request.ticket, now_seconds=self.now_seconds)
        if not request.measured:
            return
        first_seconds = request.first_token_seconds
        assert first_seconds is not None, "a finished request has a first token"
        self.tally.complete(
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            ttft_seconds=first_seconds - request.arrival_seconds,
            decode_seconds=self.now_seconds - first_seconds,
            tenant=request.tenant,
        )

    def _emptied(self, replica: SimulatedReplica) -> None:
        self.lifecycle.settle(replica)

    # What repeats

    def _scrape(self, _: None) -> None:
        model = self.arm.telemetry
        readings = self._observatory.scrape(self.now_seconds)
        if not self._faults.telemetry_lost:
            self._events.at(self.now_seconds + model.delay_seconds, self._observe, readings)
        self._events.again(model.interval_seconds, self._scrape)

    def _observe(self, readings: tuple[Reading, ...]) -> None:
        snapshot = self._observatory.deliver(readings, self.now_seconds)
        self.picker.observe(snapshot, self.actuation.prices, now_seconds=self.now_seconds)

    def _commit(self, _: None) -> None:
        self.picker.commit(now_seconds=self.now_seconds)
        for model, commitment in self.picker.commitments().items():
            if self._committed.get(model, commitment.addresses) != commitment.addresses:
                self.tally.set_changes += 1
            self._committed[model] = commitment.addresses
        self._events.again(_COMMIT_SECONDS, self._commit)

    def _decide(self, room: ControlRoom) -> None:
        room.decide(self.now_seconds)
        self._events.again(self.world.control_period_seconds, self._decide, room)

    def _show(self, observer: Observer) -> None:
        observer(self.now_seconds, self)
        self._events.again(1.0, self._show, observer)

    # The window

    def _begin(self, _: None) -> None:
        """The measured window begins: note what was before."""
        self.tally.set_changes = 0
        self._before = MeterReading.of(self.replicas, self.now_seconds)
        self.book.open(self.replicas.values(), now_seconds=self.now_seconds)

    def _end(self, _: None) -> None:
        """The measured window ends: joules and tokens are those between its two ends."""
        self._after = MeterReading.of(self.replicas, self.now_seconds)
        self.book.close(self.replicas.values(), now_seconds=self.now_seconds)

    def _cool(self, supply_celsius: float) -> None:
        if self.watch.climate is not None:
            self.watch.climate.order(supply_celsius)

    def _control_room(self) -> ControlRoom | None:
        if self.arm.controller is None:
            return None
        return ControlRoom(
            self.arm.controller(),
            self.world,
            tuple(self.replicas.values()),
            gateway=self._gateway,
            observatory=self._observatory,
            watch=self.watch,
            actuation=self.actuation,
            seed=self.seed,
        )
