"""`headrace bench decide`: what one pick and one snapshot cost, by fleet size, policy and requests.

No I/O. A picker is brought to a steady state (each replica carries some requests, as many end as
begin, drawn by chance), then picks and ends are timed in turns, in rounds that go around the
policies and arms, so that a change of the machine's speed hits all alike. Times are CPU time of the
process; requests are made before the clock runs.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from fleet.topology import Fleet
from headrace.bench.decide_arms import ARMS
from headrace.bench.decide_state import RUNNING_PER_REPLICA, Steady, fleet_of, report_of
from headrace.bench.decide_tables import print_tables
from headrace.bench.outputs import require_folders, write_report
from router.decide.policies import POLICIES
from telemetry.assembly import Assembly
from telemetry.counters import RateWindow

SCHEMA = 2
SIZES = (8, 100, 1000)
_ROUNDS = 7
_PICKS_PER_ROUND = 1000
# Picks are timed in bursts, ends after each: of an eighth of the load, so that it stays what it is.
_BURST_RATIO = 0.125
_TURNS_PER_ROUND = 3
_PASSES_PER_ROUND = 100
_MICROSECONDS = 1e6
_TABLE_COLUMNS = 100
"""Characters that the tables need, also where output is no terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideCost:
    """Medians over rounds, CPU time.

    Attributes:
        policy: Name of the policy.
        arm: Name of the kind of requests (headrace.bench.decide_arms).
        replicas: Fleet size.
        pick_microseconds: One pick.
        settle_microseconds: The end of one older request.
        pass_on_microseconds: Endpoints for a request without a prompt.
        observe_microseconds: Taking in one snapshot.
        observe_step_microseconds: The longest of the steps in which that can be done.
        commit_microseconds: Choosing the committed set once.
    """

    policy: str
    arm: str
    replicas: int
    pick_microseconds: float
    settle_microseconds: float
    pass_on_microseconds: float
    observe_microseconds: float
    observe_step_microseconds: float
    commit_microseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCost:
    """Merging one scrape of the whole fleet and freezing it, median over rounds, CPU time."""

    replicas: int
    build_microseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How the cost of a pick grows between two fleet sizes.

    Attributes:
        policy: Name of the policy.
        arm: Name of the kind of requests.
        replicas: The smaller size.
        to_replicas: The larger size.
        ratio: Cost there over cost here.
        exponent: Of the size, were the cost a power of it: 0 is flat, 1 linear.
    """

    policy: str
    arm: str
    replicas: int
    to_replicas: int
    ratio: float
    exponent: float


class _Round(NamedTuple):
    """One round's means: the figures of a DecideCost."""

    pick_microseconds: float
    settle_microseconds: float
    pass_on_microseconds: float
    observe_microseconds: float
    observe_step_microseconds: float
    commit_microseconds: float


def run(args: argparse.Namespace) -> int:
    """Time them, print the tables, write the JSON that was asked for."""
    require_folders(args)
    console = Console(width=max(Console().width, _TABLE_COLUMNS))
    sizes = SIZES[:2] if args.quick else SIZES
    costs: list[DecideCost] = []
    snapshots: list[SnapshotCost] = []
    for size in track(sizes, description="fleet sizes", console=console, transient=True):
        costs += _decide_costs(size)
        snapshots.append(_snapshot_cost(fleet_of(size)))
    growths = list(growth_of(costs))
    print_tables(console, costs, snapshots, growths)
    document = {
        "schema": SCHEMA,
        "rounds": _ROUNDS,
        "picks_per_round": _PICKS_PER_ROUND,
        "running_requests_per_replica": RUNNING_PER_REPLICA,
        "decisions": [asdict(cost) for cost in costs],
        "growths": [asdict(growth) for growth in growths],
        "snapshots": [asdict(cost) for cost in snapshots],
    }
    write_report(console, args.report, document)
    return 0


def growth_of(costs: Sequence[DecideCost]) -> Iterator[Growth]:
    """Between each two neighbouring sizes of one policy and arm."""
    for key, group in itertools.groupby(sorted(costs, key=_by_arm), key=lambda it: _by_arm(it)[:2]):
        for here, there in itertools.pairwise(group):
            ratio = there.pick_microseconds / here.pick_microseconds
            yield Growth(
                policy=key[0],
                arm=key[1],
                replicas=here.replicas,
                to_replicas=there.replicas,
                ratio=ratio,
                exponent=math.log(ratio) / math.log(there.replicas / here.replicas),
            )


def _by_arm(cost: DecideCost) -> tuple[str, str, int]:
    return (cost.policy, cost.arm, cost.replicas)


def _decide_costs(size: int) -> Iterator[DecideCost]:
    """Every policy with plain requests, and `dispatch` with all the others."""
    keys = [(policy, "plain") for policy in POLICIES]
    keys += [("dispatch", arm) for arm in ARMS if arm != "plain"]
    states = {key: Steady(fleet_of(size, key[1]), *key) for key in keys}
    rounds: dict[tuple[str, str], list[_Round]] = {key: [] for key in keys}
    for _ in range(_ROUNDS):
        for key, state in states.items():
            rounds[key].append(_round(state))
    for (policy, arm), timed in rounds.items():
        medians = _Round(*(statistics.median(column) for column in zip(*timed, strict=True)))
        yield DecideCost(policy=policy, arm=arm, replicas=size, **medians._asdict())


def _round(state: Steady) -> _Round:
    picks, settles = _picks_and_settles(state)
    draws = iter([state.draw() for _ in range(_PASSES_PER_ROUND)])
    snapshot = state.snapshot()
    return _Round(
        picks,
        settles,
        _microseconds(lambda: state.pass_on(next(draws)), _PASSES_PER_ROUND),
        _microseconds(lambda: state.observe(snapshot), _TURNS_PER_ROUND),
        _longest_step(state),
        _microseconds(state.commit, _TURNS_PER_ROUND),
    )


def _picks_and_settles(state: Steady) -> tuple[float, float]:
    """Mean CPU time of a pick, and of an end."""
    burst = max(1, round(_BURST_RATIO * state.in_flight))
    bursts = max(1, _PICKS_PER_ROUND // burst)
    pick_seconds = settle_seconds = 0.0
    for _ in range(bursts):
        requests = [(state.request(), state.draw()) for _ in range(burst)]
        start = time.process_time()
        for facts, draw in requests:
            state.pick(facts, draw)
        middle = time.process_time()
        for _ in range(burst):
            state.settle()
        pick_seconds += middle - start
        settle_seconds += time.process_time() - middle
    each = _MICROSECONDS / (bursts * burst)
    return pick_seconds * each, settle_seconds * each


def _longest_step(state: Steady) -> float:
    """The longest step of taking a snapshot in; of several tries the least."""
    tries = []
    for _ in range(_TURNS_PER_ROUND):
        snapshot = state.snapshot()
        longest, start = 0.0, time.process_time()
        for _ in state.observing(snapshot):
            now = time.process_time()
            longest, start = max(longest, now - start), now
        tries.append(max(longest, time.process_time() - start))
    return min(tries) * _MICROSECONDS


def _snapshot_cost(fleet: Fleet) -> SnapshotCost:
    assembly = Assembly(fleet, RateWindow())
    times = []
    running = {it.address: float(RUNNING_PER_REPLICA) for it in fleet.replicas()}
    for number in range(_ROUNDS):
        report = report_of(fleet, float(number), running)

        def build(number: int = number) -> None:
            assembly.absorb("scrape", report, collected_for=fleet)  # noqa: B023 - called at once
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
