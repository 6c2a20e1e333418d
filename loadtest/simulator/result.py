"""From what a simulation counted to its result. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from loadtest.energy_meter import Energy
from loadtest.simulator.accounts import RunAccounts, replica_hours
from loadtest.simulator.boards import SimulatedReplica
from loadtest.simulator.lifecycle import Lifecycle
from loadtest.simulator.power_watch import PowerWatch
from loadtest.simulator.state_book import StateBook
from loadtest.simulator.tally import Latencies, RunResult, Tally
from router.decide.outcome import PickReason


class MeterReading(NamedTuple):
    """Exact meters and counters at one moment.

    Attributes:
        energy: Address -> board energy since the start.
        generation_tokens: Of all engines.
        prefix_query_tokens: Likewise.
        prefix_hit_tokens: Likewise.
    """

    energy: Mapping[str, Energy]
    generation_tokens: int
    prefix_query_tokens: int
    prefix_hit_tokens: int

    @classmethod
    def of(cls, replicas: Mapping[str, SimulatedReplica], now_seconds: float) -> "MeterReading":
        """Read all replicas."""
        counters = [replica.engine.counters for replica in replicas.values()]
        return cls(
            energy={a: one.engine.energy(now_seconds) for a, one in replicas.items()},
            generation_tokens=sum(one.generation_tokens for one in counters),
            prefix_query_tokens=sum(one.prefix_query_tokens for one in counters),
            prefix_hit_tokens=sum(one.prefix_hit_tokens for one in counters),
        )


def run_result(
    replicas: Mapping[str, SimulatedReplica],
    tally: Tally,
    before: MeterReading,
    after: MeterReading,
    *,
    arm: str,
    seed: int,
    window_seconds: float,
    accounts: RunAccounts,
) -> RunResult:
    """The figures of the window between two readings."""
    busy: dict[str, list[float]] = {}
    dynamic_joules = idle_joules = 0.0
    for address, replica in replicas.items():
        first, last = before.energy[address], after.energy[address]
        dynamic_joules += last.dynamic_joules - first.dynamic_joules
        idle_joules += last.idle_joules - first.idle_joules
        share = (last.busy_seconds - first.busy_seconds) / window_seconds
        busy.setdefault(replica.backend, []).append(share)
    return RunResult(
        arm=arm,
        seed=seed,
        window_seconds=window_seconds,
        requests=tally.requests,
        shed=tally.shed,
        completed=tally.completed,
        attained=tally.attained,
        prompt_tokens=tally.prompt_tokens,
        output_tokens=after.generation_tokens - before.generation_tokens,
        dynamic_joules=dynamic_joules,
        idle_joules=idle_joules,
        ttft=Latencies.of(tally.ttft),
        tpot=Latencies.of(tally.tpot),
        pick_reasons={reason.value: tally.reasons[reason.value] for reason in PickReason},
        picks_by_backend=dict(sorted(tally.backends.items())),
        set_changes=tally.set_changes,
        busy_ratio={name: sum(shares) / len(shares) for name, shares in busy.items()},
        preemptions=sum(one.engine.counters.preemptions for one in replicas.values()),
        fairness=tally.fairness(replicas=len(replicas)),
        accounts=accounts,
    )


def run_accounts(
    before: MeterReading,
    after: MeterReading,
    *,
    watch: PowerWatch,
    book: StateBook,
    lifecycle: Lifecycle,
    clock_changes: int,
    brakes: int,
    retried_requests: int,
) -> RunAccounts:
    """What the parts of a simulation kept beside latency and tokens."""
    climate, counts = watch.climate, lifecycle.counts
    return RunAccounts(
        fleet_cap=None if watch.fleet_cap is None else watch.fleet_cap.account(),
        rack_caps={rack: meter.account() for rack, meter in watch.rack_caps.items()},
        grams_co2e=watch.grams_co2e,
        host_joules=watch.host_joules,
        cooling_joules=None if climate is None else climate.cooling_joules,
        max_inlet_celsius=None if climate is None else climate.max_inlet_celsius,
        redline_seconds=None if climate is None else climate.redline_seconds,
        redline_kelvin_seconds=None if climate is None else climate.redline_kelvin_seconds,
        replica_hours=replica_hours(book),
        joules_by_state=dict(book.joules),
        seconds_by_state=dict(book.seconds),
        sleeps=counts["sleep"],
        wakes=counts["wake"],
        starts=counts["start"],
        stops=counts["stop"],
        clock_changes=clock_changes,
        brakes=brakes,
        refused_actions=lifecycle.refused,
        retried_requests=retried_requests,
        prefix_query_tokens=after.prefix_query_tokens - before.prefix_query_tokens,
        prefix_hit_tokens=after.prefix_hit_tokens - before.prefix_hit_tokens,
    )
