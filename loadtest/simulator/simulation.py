"""The discrete-event simulation: one event is an arrival, an engine step, a scrape or a tick.

Deterministic: the same plan, arm, arrivals and seed give the same result. The decision is the
production code (`router.decide.picker.Picker`), told of virtual seconds.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleet.price import PriceBoard
from fleet.topology import Fleet
from loadtest.arrivals import Arrival
from loadtest.energy_meter import Energy
from loadtest.engine_state import Iteration, Limits
from loadtest.simulator.boards import SimulatedReplica, SimulatedRequest
from loadtest.simulator.observation import Observatory, TelemetryModel
from loadtest.simulator.tally import Latencies, RunResult, Tally
from loadtest.truth import Truth
from router.decide.outcome import PickReason, Rejection
from router.decide.picker import Picker
from router.decide.policies import Policy
from router.decide.request_facts import Api, RequestFacts, RequestHints
from router.decide.settings import DecideSettings
from telemetry.reading import Reading

_COMMIT_SECONDS = 1.0
# What a prompt token is in bytes; the router has to find that out by itself.
_BYTES_PER_TOKEN = 4.2
_NO_PRICES = PriceBoard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A policy and what it is allowed to know.

    Attributes:
        name: In reports.
        settings: Of the decision; `settings.policy` names the rule.
        policy: A rule that is not among the router's own, or None.
        telemetry: How its telemetry behaves.
        knows_lengths: Told each answer's length beforehand (an oracle).
        sees_truth: Shown the true state before every pick (a clairvoyant).
    """

    name: str
    settings: DecideSettings = field(default_factory=DecideSettings)
    policy: Policy | None = None
    telemetry: TelemetryModel = field(default_factory=TelemetryModel)
    knows_lengths: bool = False
    sees_truth: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        kind: "telemetry-lost", "replica-wedged", "power-bias" or "router-away".
        start_seconds: When it begins.
        duration_seconds: How long it lasts.
        address: The replica, for the kinds that have one.
        ratio: Of a power bias.
    """

    kind: str
    start_seconds: float
    duration_seconds: float
    address: str | None = None
    ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is simulated, whatever the policy.

    Attributes:
        fleet: What the router is told: topology, objectives, prior profiles.
        truths: Backend name -> what its boards really do.
        limits: Backend name -> settings of its engines.
        window_seconds: How long is measured; arrivals end with it.
        warmup_seconds: Simulated before that and not measured, so that a policy is judged by how
            it carries a load and not by how it meets one out of nothing.
        max_tokens: What requests ask for; their true lengths are not told.
        priority: Of all requests; below 0 they may be shed.
        faults: What goes wrong.
    """

    fleet: Fleet
    truths: dict[str, Truth]
    limits: dict[str, Limits] = field(default_factory=dict)
    window_seconds: float
    warmup_seconds: float = 0.0
    max_tokens: int = 2048
    priority: int = 0
    faults: tuple[Fault, ...] = ()


class Observer(Protocol):
    """Somebody who looks on, once a simulated second: progress bars and time series."""

    def __call__(self, now_seconds: float, simulation: "Simulation") -> None:
        """Look."""
        ...


Handler = Callable[[Any], None]


class Simulation:
    """One run. Make it, `run` it once, read the result.

    Attributes:
        picker: The router's mind.
        replicas: By address.
        tally: Running sums.
        now_seconds: Virtual time.
    """

    def __init__(
        self, world: World, arm: Arm, arrivals: Iterator[Arrival], *, seed: int = 0
    ) -> None:
        """Prepare.

        Args:
            world: What is simulated.
            arm: The policy.
            arrivals: In order of time; pulled one by one.
            seed: Of sensor gains and of the policy's draws.
        """
        self.world, self.arm, self.seed = world, arm, seed
        self._arrivals = arrivals
        # Apart, so that a policy that draws more often sees the same boards.
        self._draws = random.Random(f"{seed}:draws")  # noqa: S311 - not for secrets
        gains = random.Random(f"{seed}:gains")  # noqa: S311 - not for secrets
        spread = arm.telemetry.power_gain_ratio
        self.replicas = {
            replica.address: SimulatedReplica(
                address=replica.address,
                backend=backend.name,
                truth=world.truths[backend.name],
                limits=world.limits.get(backend.name, Limits()),
                power_gain=1.0 + gains.uniform(-spread, spread),
            )
            for backend in world.fleet.backends
            for replica in backend.replicas
        }
        objective = world.fleet.backends[0].objective
        self.tally = Tally(
            ttft_objective_seconds=objective.ttft_seconds,
            tpot_objective_seconds=objective.tpot_seconds,
        )
        self.picker = Picker(world.fleet, arm.settings, policy=arm.policy)
        self._observatory = Observatory(world.fleet, self.replicas)
        self._hints = RequestHints(priority=world.priority)
        self._events: list[tuple[float, int, Handler, Any]] = []
        self._order = itertools.count()
        self._numbers = itertools.count()
        self._committed: dict[str, frozenset[str]] = {}
        self._unfinished = 0
        self._arriving = True
        self._telemetry_lost = False
        self._router_away = False
        self._end_seconds = world.warmup_seconds + world.window_seconds
        self._before: dict[str, Energy] = {}
        self._at_end: dict[str, Energy] = {}
        self._generated_before = 0
        self._generated_at_end = 0
        self.now_seconds = 0.0

    def run(self, observer: Observer | None = None) -> RunResult:
        """Play all arrivals and wait for all answers."""
        self._schedule(0.0, self._scrape, None)
        self._schedule(0.01, self._commit, None)
        self._schedule(self.world.warmup_seconds, self._begin, None)
        self._schedule(self._end_seconds, self._end, None)
        for fault in self.world.faults:
            self._schedule(fault.start_seconds, self._break, fault)
            self._schedule(fault.start_seconds + fault.duration_seconds, self._mend, fault)
        if observer is not None:
            self._schedule(0.0, self._show, observer)
        self._pull()
        events, pop = self._events, heapq.heappop
        while events:
            self.now_seconds, _, handler, subject = pop(events)
            handler(subject)
        return self._result()

    # Events

    def _pull(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is None or arrival.at_seconds >= self._end_seconds:
            self._arriving = False
        else:
            self._schedule(arrival.at_seconds, self._arrive, arrival)

    def _arrive(self, arrival: Arrival) -> None:
        self._pull()
        measured = self.now_seconds >= self.world.warmup_seconds
        self.tally.requests += measured
        if self.arm.sees_truth:
            self._observe(self._observatory.scrape(self.now_seconds))
        address, ticket = self._route(arrival)
        if address is None:
            self.tally.shed += measured
            return
        replica = self.replicas[address]
        self.tally.backends[replica.backend] += measured
        request = SimulatedRequest(
            str(next(self._numbers)),
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            ticket=ticket,
            measured=measured,
        )
        replica.engine.submit(request, now_seconds=self.now_seconds)
        self._unfinished += 1
        self._step(replica)

    def _route(self, arrival: Arrival) -> tuple[str | None, Any]:
        if self._router_away:
            return self._fall_back(), None
        facts = RequestFacts(
            model=arrival.model,
            api=Api.CHAT,
            stream=True,
            prompt_bytes=round(arrival.prompt_tokens * _BYTES_PER_TOKEN),
            max_output_tokens=(
                max(1, arrival.output_tokens) if self.arm.knows_lengths else self.world.max_tokens
            ),
            ignore_eos=self.arm.knows_lengths,
            hints=self._hints,
        )
        answer = self.picker.pick(facts, now_seconds=self.now_seconds, draw=self._draws.random())
        if isinstance(answer, Rejection):
            return None, None
        self.tally.reasons[answer.reason.value] += self.now_seconds >= self.world.warmup_seconds
        return answer.address, answer.ticket

    def _fall_back(self) -> str:
        """Envoy's least-request: the less loaded of two, by what Envoy itself has open."""
        two = self._draws.sample(sorted(self.replicas), k=min(2, len(self.replicas)))
        return min(two, key=lambda a: len(list(self.replicas[a].engine.requests())))

    def _step(self, replica: SimulatedReplica) -> None:
        if replica.stepping or replica.wedged:
            return
        iteration = replica.engine.plan(self.now_seconds)
        if iteration is not None:
            replica.stepping = True
            self._schedule(iteration.end_seconds, self._complete, (replica, iteration))

    def _complete(self, subject: tuple[SimulatedReplica, Iteration]) -> None:
        replica, iteration = subject
        step = replica.engine.complete(iteration)
        replica.stepping = False
        for request in step.finished:
            self._finish(request)
        self._step(replica)

    def _finish(self, request: SimulatedRequest) -> None:
        self._unfinished -= 1
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
        )

    def _scrape(self, _: None) -> None:
        model = self.arm.telemetry
        readings = self._observatory.scrape(self.now_seconds)
        if not self._telemetry_lost:
            self._schedule(self.now_seconds + model.delay_seconds, self._observe, readings)
        self._again(model.interval_seconds, self._scrape, None)

    def _observe(self, readings: tuple[Reading, ...]) -> None:
        snapshot = self._observatory.deliver(readings, self.now_seconds)
        self.picker.observe(snapshot, _NO_PRICES, now_seconds=self.now_seconds)

    def _commit(self, _: None) -> None:
        self.picker.commit(now_seconds=self.now_seconds)
        for model, commitment in self.picker.commitments().items():
            if self._committed.get(model, commitment.addresses) != commitment.addresses:
                self.tally.set_changes += 1
            self._committed[model] = commitment.addresses
        self._again(_COMMIT_SECONDS, self._commit, None)

    def _show(self, observer: Observer) -> None:
        observer(self.now_seconds, self)
        self._again(1.0, self._show, observer)

    def _begin(self, _: None) -> None:
        """The measured window begins: note what was before."""
        self.tally.set_changes = 0
        self._before = self._meter()
        self._generated_before = self._generated()

    def _end(self, _: None) -> None:
        """The measured window ends: joules and tokens are those between its two ends."""
        self._at_end = self._meter()
        self._generated_at_end = self._generated()

    def _generated(self) -> int:
        return sum(r.engine.counters.generation_tokens for r in self.replicas.values())

    def _meter(self) -> dict[str, Energy]:
        return {a: r.engine.energy(self.now_seconds) for a, r in self.replicas.items()}

    def _break(self, fault: Fault) -> None:
        self._set_fault(fault, active=True)

    def _mend(self, fault: Fault) -> None:
        self._set_fault(fault, active=False)

    def _set_fault(self, fault: Fault, *, active: bool) -> None:
        if fault.kind == "telemetry-lost":
            self._telemetry_lost = active
        elif fault.kind == "router-away":
            self._router_away = active
        elif fault.kind == "power-bias":
            for replica in self.replicas.values():
                if fault.address in (None, replica.address):
                    replica.power_gain *= fault.ratio if active else 1.0 / fault.ratio
        elif fault.kind == "replica-wedged":
            assert fault.address is not None, "a wedged replica has an address"
            replica = self.replicas[fault.address]
            replica.wedged = active
            self._step(replica)
        else:
            raise ValueError(f"there is no fault {fault.kind!r}")

    # Inside

    def _schedule(self, at_seconds: float, handler: Handler, subject: Any) -> None:
        heapq.heappush(self._events, (at_seconds, next(self._order), handler, subject))

    def _again(self, after_seconds: float, handler: Handler, subject: Any) -> None:
        """Repeat, as long as anything is to come."""
        if self._arriving or self._unfinished:
            self._schedule(self.now_seconds + after_seconds, handler, subject)

    def _result(self) -> RunResult:
        tally, window_seconds = self.tally, self.world.window_seconds
        busy: dict[str, list[float]] = {}
        dynamic_joules = 0.0
        for address, replica in self.replicas.items():
            before, after = self._before[address], self._at_end[address]
            dynamic_joules += after.dynamic_joules - before.dynamic_joules
            share = (after.busy_seconds - before.busy_seconds) / window_seconds
            busy.setdefault(replica.backend, []).append(share)
        idle_watts = sum(r.engine.truth.idle_watts for r in self.replicas.values())
        return RunResult(
            arm=self.arm.name,
            seed=self.seed,
            window_seconds=window_seconds,
            requests=tally.requests,
            shed=tally.shed,
            completed=tally.completed,
            attained=tally.attained,
            prompt_tokens=tally.prompt_tokens,
            output_tokens=self._generated_at_end - self._generated_before,
            dynamic_joules=dynamic_joules,
            idle_joules=idle_watts * window_seconds,
            ttft=Latencies.of(tally.ttft),
            tpot=Latencies.of(tally.tpot),
            pick_reasons={r.value: tally.reasons[r.value] for r in PickReason},
            picks_by_backend=dict(sorted(tally.backends.items())),
            set_changes=tally.set_changes,
            busy_ratio={name: sum(shares) / len(shares) for name, shares in busy.items()},
            preemptions=sum(r.engine.counters.preemptions for r in self.replicas.values()),
        )
