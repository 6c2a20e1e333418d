"""Runs a control loop: makes its views from measurements, carries out its actions."""

from collections.abc import Sequence

from capper.decide.clocked import packed_tokens_per_joule
from fleet.signals import Freshness, FreshnessPolicy, Signal, SignalKind
from fleet.snapshot import NO_SIGNALS
from loadtest.simulator.actuation import Actuation
from loadtest.simulator.boards import ReplicaState, SimulatedReplica
from loadtest.simulator.climate import Room
from loadtest.simulator.control import Controller, ControlView, RackView, ReplicaView, RoomView
from loadtest.simulator.gateway import Gateway
from loadtest.simulator.observation import Observatory
from loadtest.simulator.power_watch import PowerWatch
from loadtest.simulator.thermometers import Thermometers
from loadtest.simulator.world import World
from router.decide.backend_mixes import backend_mixes

# How far ahead forecasts reach.
_FORECAST_INTERVALS = 24


class ControlRoom:
    """Where a controller sits."""

    def __init__(
        self,
        controller: Controller,
        world: World,
        replicas: Sequence[SimulatedReplica],
        *,
        gateway: Gateway,
        observatory: Observatory,
        watch: PowerWatch,
        actuation: Actuation,
        seed: int,
    ) -> None:
        """Nothing decided yet; `seed` is that of forecast errors."""
        self._controller = controller
        self._world = world
        self._replicas = replicas
        self._gateway = gateway
        self._observatory = observatory
        self._watch = watch
        self._actuation = actuation
        self._seed = seed
        self._freshness = FreshnessPolicy()
        self._thermometers = Thermometers(seed=seed)

    def decide(self, now_seconds: float) -> None:
        """One control period."""
        for action in self._controller.decide(self.view(now_seconds)):
            self._actuation.apply(action)

    def view(self, now_seconds: float) -> ControlView:
        """What the controller is shown at this moment."""
        commitments = self._gateway.picker.commitments()
        committed = {address for one in commitments.values() for address in one.addresses}
        replicas = tuple(
            self._replica(one, committed=one.address in committed, now_seconds=now_seconds)
            for one in self._replicas
        )
        caps, carbon, climate = self._world.caps, self._world.carbon, self._watch.climate
        return ControlView(
            now_seconds=now_seconds,
            snapshot=self._observatory.published,
            replicas=replicas,
            racks=self._racks(replicas, now_seconds),
            power_watts=_total(replicas),
            coverage_ratio=_coverage(replicas),
            cap_watts=None if caps.fleet is None else caps.fleet.at(now_seconds),
            supply_celsius=None if climate is None else climate.supply_celsius,
            carbon_grams_per_kilowatt_hour=None if carbon is None else carbon.at(now_seconds),
            carbon_interval_seconds=(
                None if carbon is None else carbon.interval_seconds / carbon.speed_up_ratio
            ),
            carbon_forecast=(
                ()
                if carbon is None
                else carbon.forecast(now_seconds, intervals=_FORECAST_INTERVALS, seed=self._seed)
            ),
            requests_per_second={
                model: self._gateway.picker.workload.of(model).requests_per_second(
                    now_seconds=now_seconds
                )
                for model in self._gateway.picker.models()
            },
            commitments=commitments,
            unneeded=frozenset(
                one.address
                for one in replicas
                if one.state is ReplicaState.READY and not one.committed
            ),
            prices=self._actuation.prices,
            packed_tokens_per_joule=self._packed_worths(now_seconds),
            room=_room(self._world.room),
            compression_ratio=self._world.compression_ratio,
        )

    def _packed_worths(self, now_seconds: float) -> dict[str, float]:
        """At the mix of the first model of a backend, and its learned profile."""
        mixes = backend_mixes(self._gateway.picker, now_seconds=now_seconds)
        return {
            name: packed_tokens_per_joule(
                one.profile, one.mix, tpot_limit_seconds=one.tpot_limit_seconds
            )
            for name, one in mixes.items()
        }

    def _replica(
        self, replica: SimulatedReplica, *, committed: bool, now_seconds: float
    ) -> ReplicaView:
        snapshot, address = self._observatory.published, replica.address
        signals = NO_SIGNALS if snapshot is None else snapshot.of(address)

        def fresh(kind: SignalKind) -> Signal | None:
            signal = signals.get(kind)
            known = self._freshness.of(signal, now_seconds=now_seconds) is Freshness.FRESH
            return signal if known else None

        power = fresh(SignalKind.POWER_WATTS)
        running, waiting = fresh(SignalKind.RUNNING_REQUESTS), fresh(SignalKind.WAITING_REQUESTS)
        lock_hertz, limit_watts = self._actuation.ordered[address]
        full = replica.full_truth
        return ReplicaView(
            address=address,
            backend=replica.backend,
            rack=replica.rack,
            models=replica.models,
            state=replica.state,
            committed=committed,
            power_watts=None if power is None else power.value,
            power_seconds=None if power is None else power.observed_seconds,
            running=None if running is None else running.value,
            waiting=None if waiting is None else waiting.value,
            clock_hertz=replica.engine.truth.clock_hz,
            clock_lock_hertz=lock_hertz,
            limit_watts=limit_watts,
            min_clock_hertz=full.asleep_clock_hz,
            knee_clock_hertz=full.knee_clock_hz,
            max_clock_hertz=full.max_clock_hz,
            idle_watts=full.idle_watts,
            asleep_watts=full.asleep_watts,
            full_watts=full.full_watts,
            lowest_limit_watts=full.lowest_limit_watts,
        )

    def _racks(self, replicas: Sequence[ReplicaView], now_seconds: float) -> tuple[RackView, ...]:
        caps, climate = self._world.caps.racks, self._watch.climate
        inlets, outlets = self._thermometers.read(climate)
        return tuple(
            RackView(
                name=name,
                power_watts=_total(members),
                coverage_ratio=_coverage(members),
                cap_watts=caps[name].at(now_seconds) if name in caps else None,
                inlet_celsius=inlets.get(name),
                outlet_celsius=outlets.get(name),
            )
            for name in dict.fromkeys(one.rack for one in replicas)
            for members in [[one for one in replicas if one.rack == name]]
        )


def _room(room: Room | None) -> RoomView | None:
    if room is None:
        return None
    return RoomView(
        thermal=room.thermal,
        redline_celsius=room.redline_celsius,
        recommended_celsius=(
            room.redline_celsius if room.recommended_celsius is None else room.recommended_celsius
        ),
        lowest_supply_celsius=room.lowest_supply_celsius,
        highest_supply_celsius=room.highest_supply_celsius,
    )


def _total(replicas: Sequence[ReplicaView]) -> float | None:
    known = [one.power_watts for one in replicas if one.power_watts is not None]
    return sum(known) if len(known) == len(replicas) else None


def _coverage(replicas: Sequence[ReplicaView]) -> float:
    return sum(one.power_watts is not None for one in replicas) / len(replicas)
