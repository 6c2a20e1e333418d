"""From the simulator's view to the capper's observation. Pure but for a short memory of samples."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from capper.decide.observation import (
    DomainReading,
    Observation,
    PowerReading,
    PowerSource,
    RouterForecast,
    Sample,
    TargetReading,
)
from capper.decide.policy import ROOT
from fleet.signals import FreshnessPolicy, SignalKind
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.control import ControlView, ReplicaView

PRESENT = frozenset({ReplicaState.READY, ReplicaState.WAKING, ReplicaState.STARTING})
"""States in which a replica counts as one that its workload wants."""

_COMING = PRESENT - {ReplicaState.READY}
# The decision takes the worst of three; one more covers a scrape that brought nothing new.
_KEPT_SAMPLES = 4
# Watts per replica over the last ten minutes at a turn per second.
_KEPT_REPLICA_WATTS = 600
_HIGH_QUANTILE = 0.95


def ref_of(backend: str) -> str:
    """The target of a backend."""
    return f"Local/simulated/{backend}"


class Watcher:
    """Remembers the last samples of every domain and the watts of replicas.

    Watts of a board without a fresh reading are taken as its highest: an unknown board is not off.
    """

    def __init__(self) -> None:
        """Nothing seen."""
        self._samples: dict[str, deque[tuple[float, float]]] = {}
        self._replica_watts: dict[str, deque[float]] = {}
        self._freshness = FreshnessPolicy()

    def observe(self, view: ControlView, bounds: Mapping[str, int]) -> Observation:
        """One turn.

        Args:
            view: What the simulator shows.
            bounds: Backend -> the bound in its object.
        """
        racks = {rack.name: rack.inlet_celsius for rack in view.racks}
        domains = {ROOT: self._domain(view, ROOT, view.replicas, None)}
        for rack, inlet_celsius in racks.items():
            members = [one for one in view.replicas if one.rack == rack]
            domains[rack] = self._domain(view, rack, members, inlet_celsius)
        return Observation(
            domains=domains,
            targets={
                ref_of(backend): self._target(view, members, bounds[backend])
                for backend, members in by_backend(view.replicas).items()
            },
        )

    def _domain(
        self,
        view: ControlView,
        name: str,
        members: Sequence[ReplicaView],
        inlet_celsius: float | None,
    ) -> DomainReading:
        known = [one for one in members if one.power_watts is not None]
        samples = self._samples.setdefault(name, deque(maxlen=_KEPT_SAMPLES))
        if known:
            measured_seconds = min(one.power_seconds or 0.0 for one in known)
            watts = sum(_watts(one) for one in members)
            if not samples or samples[-1][0] != measured_seconds:
                samples.append((measured_seconds, watts))
        power = PowerReading(
            source=PowerSource.BOARDS,
            samples=tuple(
                Sample(watts, view.now_seconds - seconds) for seconds, watts in reversed(samples)
            ),
            coverage_ratio=len(known) / len(members),
            limit_watts=sum(one.full_watts for one in members),
        )
        heat = () if inlet_celsius is None else (Sample(inlet_celsius, 0.0),)
        return DomainReading(power=(power,), inlet_celsius=heat)

    def _target(
        self, view: ControlView, members: Sequence[ReplicaView], bound: int
    ) -> TargetReading:
        present = [one for one in members if one.state in PRESENT]
        ready = [one for one in members if one.state is ReplicaState.READY]
        leaving = sum(one.state is ReplicaState.DRAINING for one in members)
        watts = sum(one.power_watts or 0.0 for one in ready)
        complete = bool(ready) and all(one.power_watts is not None for one in ready)
        tokens = self.signal_sum(view, ready, SignalKind.GENERATION_TOKENS_PER_SECOND)
        return TargetReading(
            spec_replicas=len(present),
            status_replicas=len(present) + leaving,
            ready_replicas=len(ready),
            pending_replicas=sum(one.state in _COMING for one in members),
            max_replicas=bound,
            watts=watts if complete else None,
            replica_watts_p95=self._high_watts(members[0].backend, ready),
            output_tokens_per_second=tokens,
            tokens_per_joule=tokens / watts if tokens is not None and complete and watts else None,
            domain_shares=_shares(present or members),
            forecast=_forecast(view, members, len(present)),
        )

    def signal_sum(
        self, view: ControlView, members: Iterable[ReplicaView], kind: SignalKind
    ) -> float | None:
        """Sum over replicas of a fresh signal; None when none of them has one."""
        if view.snapshot is None:
            return None
        found = [
            self._freshness.fresh_value(
                view.snapshot.of(one.address).get(kind), now_seconds=view.now_seconds
            )
            for one in members
        ]
        known = [value for value in found if value is not None]
        return sum(known) if known else None

    def _high_watts(self, backend: str, ready: Iterable[ReplicaView]) -> float | None:
        kept = self._replica_watts.setdefault(backend, deque(maxlen=_KEPT_REPLICA_WATTS))
        kept.extend(one.power_watts for one in ready if one.power_watts is not None)
        return sorted(kept)[int(_HIGH_QUANTILE * (len(kept) - 1))] if kept else None


def by_backend(replicas: Iterable[ReplicaView]) -> dict[str, list[ReplicaView]]:
    """Replicas of each backend, in the order of the fleet."""
    found: dict[str, list[ReplicaView]] = {}
    for one in replicas:
        found.setdefault(one.backend, []).append(one)
    return found


def _watts(one: ReplicaView) -> float:
    return one.full_watts if one.power_watts is None else one.power_watts


def _shares(members: Sequence[ReplicaView]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for one in members:
        shares[one.rack] = shares.get(one.rack, 0.0) + 1.0 / len(members)
    return shares


def _forecast(view: ControlView, members: Sequence[ReplicaView], present: int) -> RouterForecast:
    short = any(
        one.shortfall_requests_per_second > 0.0
        for model, one in view.commitments.items()
        if any(model in member.models for member in members)
    )
    return RouterForecast(
        in_flight_requests=round(sum(one.running or 0.0 for one in members)),
        demand_replicas=present + 1 if short else sum(one.committed for one in members),
        unneeded_replicas=sum(one.address in view.unneeded for one in members),
        packed_tokens_per_joule=view.packed_tokens_per_joule.get(members[0].backend),
    )
