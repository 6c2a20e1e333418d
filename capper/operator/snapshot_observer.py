"""Watts from the router's own snapshot: no Prometheus is needed where both run in one process."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from capper.actuators.workloads import Workload
from capper.api.config import PowerCappingConfig
from capper.decide.domains import DomainTree
from capper.decide.observation import (
    DomainReading,
    Observation,
    PowerReading,
    PowerSource,
    Sample,
    TargetReading,
)
from capper.decide.policy import Policy
from fleet.clock import Clock
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Replica

_SAMPLES = 3


class SnapshotObserver:
    """Implements capper.operator.observer.Observer on replicas' own boards.

    A rack's watts are those of all replicas in it; the whole's are those of the configuration's
    targets. Watts of hosts and of anything else are not in them. A replica that sleeps still draws
    watts of its domain, but none of its target's: those are of the replicas that serve.
    """

    def __init__(
        self,
        snapshots: SnapshotHolder,
        clock: Clock,
        serving: Callable[[FleetSnapshot], FleetSnapshot] = lambda snapshot: snapshot,
    ) -> None:
        """Measure.

        Args:
            snapshots: The whole fleet, replicas that sleep included.
            clock: The one that their times are of.
            serving: The same without the replicas that sleep.
        """
        self._snapshots = snapshots
        self._clock = clock
        self._serving = serving
        self._history: dict[tuple[str, str], deque[tuple[float, float]]] = {}
        self.problems: Mapping[str, tuple[str, ...]] = {}

    async def observe(
        self, config: PowerCappingConfig, policy: Policy, workloads: Mapping[str, Workload]
    ) -> Observation:
        """See Observer."""
        del config  # Its queries are for Prometheus.
        snapshot, tree = self._snapshots.current, DomainTree(policy.domains)
        serving = frozenset(one.address for one in self._serving(snapshot).fleet.replicas())
        backends = {target.backend for target in policy.targets}
        replicas: dict[str, list[Replica]] = {name: [] for name in tree.domains}
        for replica in snapshot.fleet.replicas():
            for name in tree.path(replica.domain):
                if name != tree.root or replica.backend in backends:
                    replicas[name].append(replica)
        return Observation(
            domains={
                name: self._domain((policy.name, name), snapshot, there)
                for name, there in replicas.items()
                if there
            },
            targets={
                target.ref: _target(
                    workloads[target.ref].reading,
                    snapshot,
                    [one for one in snapshot.fleet.replicas() if one.backend == target.backend],
                    serving,
                    tree,
                )
                for target in policy.targets
                if target.ref in workloads
            },
        )

    def _domain(
        self, key: tuple[str, str], snapshot: FleetSnapshot, replicas: list[Replica]
    ) -> DomainReading:
        """The last sums, each as old as the oldest reading in it."""
        readings = [
            signal
            for replica in replicas
            if (signal := snapshot.signal(replica.address, SignalKind.POWER_WATTS)) is not None
        ]
        history = self._history.setdefault(key, deque(maxlen=_SAMPLES))
        if readings:
            watts = sum(reading.value for reading in readings)
            measured_seconds = min(reading.observed_seconds for reading in readings)
            if not history or history[-1] != (watts, measured_seconds):
                history.append((watts, measured_seconds))
        now_seconds = self._clock.monotonic_seconds()
        reading = PowerReading(
            source=PowerSource.BOARDS,
            samples=tuple(
                Sample(watts, max(0.0, now_seconds - seconds)) for watts, seconds in history
            ),
            coverage_ratio=len(readings) / len(replicas),
        )
        return DomainReading(power=(reading,))


def _target(
    reading: TargetReading,
    snapshot: FleetSnapshot,
    replicas: list[Replica],
    serving: frozenset[str],
    tree: DomainTree,
) -> TargetReading:
    """A backend's watts and tokens, where all of its serving replicas tell them.

    Where none serves its parts in the domains are those of all: that is where one would wake.
    """
    addresses = [replica.address for replica in replicas if replica.address in serving]
    replicas = [one for one in replicas if one.address in serving] or replicas
    watts = _total(snapshot, addresses, SignalKind.POWER_WATTS)
    tokens = _total(snapshot, addresses, SignalKind.GENERATION_TOKENS_PER_SECOND)
    named = [replica.domain for replica in replicas if replica.domain in tree.domains]
    return replace(
        reading,
        watts=watts,
        output_tokens_per_second=tokens,
        tokens_per_joule=tokens / watts if tokens is not None and watts else None,
        domain_shares={name: named.count(name) / len(named) for name in named},
    )


def _total(snapshot: FleetSnapshot, addresses: Iterable[str], kind: SignalKind) -> float | None:
    signals = [snapshot.signal(address, kind) for address in addresses]
    known = [signal.value for signal in signals if signal is not None]
    return sum(known) if known and len(known) == len(signals) else None
