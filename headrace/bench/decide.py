"""`headrace bench decide`: what one pick and one snapshot cost, by fleet size and policy.

No I/O. A picker is brought to a steady state (each replica carries some requests, with every pick
one of those that run ends, drawn by chance), then picks are timed in rounds that take turns between
policies, so that a change of the machine's speed hits all alike. Times are CPU time of the process.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fleet.price import PriceBoard
from fleet.priors import prior_profile
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Backend, Fleet, Replica
from router.decide.ledger import Ticket
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.policies import POLICIES
from router.decide.request_facts import Api, RequestFacts
from router.decide.settings import DecideSettings
from telemetry.assembly import Assembly
from telemetry.counters import RateWindow
from telemetry.reading import Reading, SourceReport

SCHEMA = 1
SIZES = (8, 100, 1000)
_ACCELERATORS = ("A100", "H100", "B200")
_RUNNING_PER_REPLICA = 8
_REQUEST_SECONDS = 8.0
_ANSWER_TOKENS = 250.0
_PAST_SECONDS = 120.0
_ROUNDS = 7
_PICKS_PER_ROUND = 1000
_TURNS_PER_ROUND = 3
_PROMPT_BYTES = 4000
_PARAMETERS = 8e9
_SEED = 7
_MICROSECONDS = 1e6
_MODEL = "llama"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideCost:
    """Medians over rounds, CPU time.

    Attributes:
        policy: Name of the policy.
        replicas: Fleet size.
        pick_microseconds: One pick and the end of one older request.
        observe_microseconds: Taking in one snapshot.
        commit_microseconds: Choosing the committed set once.
    """

    policy: str
    replicas: int
    pick_microseconds: float
    observe_microseconds: float
    commit_microseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCost:
    """Merging one scrape of the whole fleet and freezing it, median over rounds, CPU time."""

    replicas: int
    build_microseconds: float


def run(args: argparse.Namespace) -> int:
    """Time them, print the tables, write the JSON that was asked for."""
    console = Console()
    sizes = SIZES[:2] if args.quick else SIZES
    costs: list[DecideCost] = []
    snapshots: list[SnapshotCost] = []
    for size in track(sizes, description="fleet sizes", console=console, transient=True):
        fleet = fleet_of(size)
        costs += _decide_costs(fleet)
        snapshots.append(_snapshot_cost(fleet))
    _print(console, costs, snapshots)
    if args.report is not None:
        document = {
            "schema": SCHEMA,
            "rounds": _ROUNDS,
            "picks_per_round": _PICKS_PER_ROUND,
            "running_requests_per_replica": _RUNNING_PER_REPLICA,
            "decisions": [asdict(cost) for cost in costs],
            "snapshots": [asdict(cost) for cost in snapshots],
        }
        args.report.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {args.report}", markup=False, soft_wrap=True)
    return 0


class Steady:
    """A picker in a steady state: as many requests end as begin."""

    def __init__(self, fleet: Fleet, policy: str) -> None:
        """Fill the fleet and let the picker choose its set."""
        self._fleet = fleet
        self._picker = Picker(fleet, DecideSettings(policy=policy))
        self._draws = random.Random(_SEED)  # noqa: S311 - a repeatable load, no secret
        self._in_flight = len(list(fleet.replicas())) * _RUNNING_PER_REPLICA
        self._gap_seconds = _REQUEST_SECONDS / self._in_flight
        self._running: list[Ticket] = []
        self._now_seconds = 0.0
        self.observe(self.snapshot())
        self._now_seconds = _PAST_SECONDS  # of counters that say how long answers are
        self.observe(self.snapshot())
        self.commit()
        for _ in range(2 * self._in_flight):
            self.pick()
        self.observe(self.snapshot())
        self.commit()

    def pick(self) -> None:
        """One request begins and, once the fleet is filled, one ends."""
        self._now_seconds += self._gap_seconds
        prompt_bytes = 16 + int(self._draws.expovariate(1 / _PROMPT_BYTES))
        facts = RequestFacts(model=_MODEL, api=Api.CHAT, prompt_bytes=prompt_bytes)
        picked = self._picker.pick(facts, now_seconds=self._now_seconds, draw=self._draws.random())
        if not isinstance(picked, Pick):
            raise TypeError(f"a request was refused in the steady state: {picked.message}")
        self._running.append(picked.ticket)
        if len(self._running) > self._in_flight:
            # By chance: if the oldest ended, a replica's would end together, as if it had stalled.
            index = int(self._draws.random() * len(self._running))
            self._running[index], self._running[-1] = self._running[-1], self._running[index]
            self._picker.settle(self._running.pop(), now_seconds=self._now_seconds)

    def observe(self, snapshot: FleetSnapshot) -> None:
        """Take in a snapshot."""
        self._picker.observe(snapshot, PriceBoard(), now_seconds=self._now_seconds)

    def commit(self) -> None:
        """A second is over."""
        self._picker.commit(now_seconds=self._now_seconds)

    def snapshot(self) -> FleetSnapshot:
        """What a scrape shows now."""
        assembly = Assembly(self._fleet, RateWindow())
        running = {it.address: float(it.account.running) for it in self._picker.units()}
        report = _report(self._fleet, self._now_seconds, running)
        assembly.absorb("scrape", report, collected_for=self._fleet)
        return assembly.snapshot(now_seconds=self._now_seconds, version=1)


def _decide_costs(fleet: Fleet) -> Iterator[DecideCost]:
    states = {policy: Steady(fleet, policy) for policy in POLICIES}
    rounds: dict[str, list[tuple[float, float, float]]] = {policy: [] for policy in states}
    for _ in range(_ROUNDS):
        for policy, state in states.items():
            snapshot = state.snapshot()
            rounds[policy].append(
                (
                    _microseconds(state.pick, _PICKS_PER_ROUND),
                    _microseconds(lambda: state.observe(snapshot), _TURNS_PER_ROUND),  # noqa: B023 - called at once
                    _microseconds(state.commit, _TURNS_PER_ROUND),
                )
            )
    for policy, timed in rounds.items():
        pick, observe, commit = (statistics.median(column) for column in zip(*timed, strict=True))
        yield DecideCost(
            policy=policy,
            replicas=len(list(fleet.replicas())),
            pick_microseconds=pick,
            observe_microseconds=observe,
            commit_microseconds=commit,
        )


def _snapshot_cost(fleet: Fleet) -> SnapshotCost:
    assembly = Assembly(fleet, RateWindow())
    times = []
    running = {it.address: float(_RUNNING_PER_REPLICA) for it in fleet.replicas()}
    for number in range(_ROUNDS):
        report = _report(fleet, float(number), running)

        def build(number: int = number, report: SourceReport = report) -> None:
            assembly.absorb("scrape", report, collected_for=fleet)
            assembly.snapshot(now_seconds=float(number), version=number)

        times.append(_microseconds(build, 1))
    return SnapshotCost(
        replicas=len(list(fleet.replicas())), build_microseconds=statistics.median(times)
    )


def _microseconds(call: Callable[[], None], count: int) -> float:
    """Mean CPU time of one of `count` calls."""
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count * _MICROSECONDS


def fleet_of(size: int) -> Fleet:
    """Accelerators in equal parts, as many as fit."""
    backends = []
    for number, accelerator in enumerate(_ACCELERATORS):
        name = accelerator.lower()
        replicas = tuple(
            Replica(
                address=f"10.{number}.{index // 250}.{index % 250 + 1}:8000",
                backend=name,
                models=(_MODEL,),
            )
            for index in range(number, size, len(_ACCELERATORS))
        )
        backends.append(
            Backend(
                name=name,
                accelerator=accelerator,
                parameters=_PARAMETERS,
                profile=prior_profile(accelerator, parameters=_PARAMETERS),
                replicas=replicas,
            )
        )
    return Fleet(tuple(backends))


def _report(fleet: Fleet, now_seconds: float, running: Mapping[str, float]) -> SourceReport:
    """Seven signals of every replica, as a scrape of vLLM and DCGM brings them."""
    finished = _RUNNING_PER_REPLICA / _REQUEST_SECONDS * now_seconds
    values = {
        SignalKind.HEALTHY_RATIO: 1.0,
        SignalKind.WAITING_REQUESTS: 0.0,
        SignalKind.KV_USAGE_RATIO: 0.1,
        SignalKind.POWER_WATTS: 400.0,
        SignalKind.GENERATION_TOKENS_TOTAL: _ANSWER_TOKENS * finished,
        SignalKind.REQUESTS_FINISHED_TOTAL: finished,
    }
    return SourceReport(
        readings=tuple(
            Reading(replica.address, kind, value, now_seconds)
            for replica in fleet.replicas()
            for kind, value in {
                **values,
                SignalKind.RUNNING_REQUESTS: running[replica.address],
            }.items()
        )
    )


def _print(console: Console, costs: list[DecideCost], snapshots: list[SnapshotCost]) -> None:
    sizes = [cost.replicas for cost in snapshots]
    table = Table(title="CPU microseconds of one pick (observe / commit of the whole fleet)")
    table.add_column("policy")
    for size in sizes:
        table.add_column(f"{size} replicas", justify="right")
    found = {(cost.policy, cost.replicas): cost for cost in costs}
    for policy in POLICIES:
        row = (found[policy, size] for size in sizes)
        table.add_row(
            policy,
            *(
                f"{cost.pick_microseconds:.1f} "
                f"({cost.observe_microseconds:.0f} / {cost.commit_microseconds:.0f})"
                for cost in row
            ),
        )
    builds = (f"{cost.build_microseconds:.0f}" for cost in snapshots)
    table.add_row("one scrape merged into a snapshot", *builds)
    console.print(table)
