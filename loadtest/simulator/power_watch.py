"""Reads all boards at short intervals: caps, rack air and carbon follow from it. Pure."""

from collections.abc import Mapping

from loadtest.simulator.boards import SimulatedReplica
from loadtest.simulator.caps import CapMeter, Caps
from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.climate import Climate, Room
from loadtest.simulator.events import Events

# Overshoot of a cap is judged by 100 ms, rack air and carbon by whole seconds.
_CAP_TICK_SECONDS = 0.1
_TICK_SECONDS = 1.0
_ROUNDING_SECONDS = 1e-9


class PowerWatch:
    """Exact power over time, in constant memory.

    Attributes:
        fleet_cap: Meter of the fleet's cap, or None.
        rack_caps: Meters of racks with a cap.
        climate: Of the room, or None.
        grams_co2e: In the window, or None without a series.
        host_joules: Of the hosts, in the window; None where there is nothing to watch.
    """

    def __init__(
        self,
        replicas: Mapping[str, SimulatedReplica],
        *,
        caps: Caps,
        room: Room | None,
        carbon: CarbonSeries | None,
        overhead_watts: Mapping[str, float],
        events: Events,
    ) -> None:
        """Watch `replicas` by address; `overhead_watts` are those of each one's host, always on."""
        self._replicas = replicas
        self._events = events
        self._carbon = carbon
        self._overhead_watts = overhead_watts
        self._racks = (
            tuple(dict.fromkeys(one.rack for one in replicas.values()))
            if room is None
            else room.thermal.racks
        )
        self._tick_seconds = _CAP_TICK_SECONDS if caps else _TICK_SECONDS
        self._needed = bool(caps) or room is not None or carbon is not None
        self._last_joules = dict.fromkeys(replicas, 0.0)
        self._last_seconds = 0.0
        self._begin_seconds = self._end_seconds = 0.0
        self.fleet_cap = None if caps.fleet is None else CapMeter(caps.fleet)
        self.rack_caps = {rack: CapMeter(steps) for rack, steps in caps.racks.items()}
        self.climate = None if room is None else Climate(room, rack_watts=self._idle_rack_watts())
        self.grams_co2e = None if carbon is None else 0.0
        self.host_joules = 0.0 if self._needed else None

    def start(self, *, begin_seconds: float, end_seconds: float) -> None:
        """Watch from now to the end of the window, of which `begin_seconds` is the start."""
        self._begin_seconds, self._end_seconds = begin_seconds, end_seconds
        if self._needed:
            self._next()

    def _next(self) -> None:
        """The next tick, cut at the edges of the window so that none lies across."""
        now_seconds = self._events.now_seconds
        edge = self._begin_seconds if now_seconds < self._begin_seconds else self._end_seconds
        if now_seconds < self._end_seconds:
            self._events.at(min(now_seconds + self._tick_seconds, edge), self._tick)

    def _tick(self, _: None) -> None:
        now_seconds, start_seconds = self._events.now_seconds, self._last_seconds
        seconds = now_seconds - start_seconds
        if seconds > _ROUNDING_SECONDS:
            self._take(start_seconds, seconds)
            self._last_seconds = now_seconds
        self._next()

    def _take(self, start_seconds: float, seconds: float) -> None:
        measured = start_seconds >= self._begin_seconds
        rack_joules = dict.fromkeys(self._racks, 0.0)
        heat_joules = dict.fromkeys(self._racks, 0.0)
        for address, replica in self._replicas.items():
            total_joules = replica.engine.energy(self._events.now_seconds).joules
            joules = total_joules - self._last_joules[address]
            self._last_joules[address] = total_joules
            rack_joules[replica.rack] += joules
            # Where a stopped replica's host is off it draws nothing.
            host_joules = self._overhead_watts[address] * seconds * replica.board_powered
            if self.host_joules is not None:
                self.host_joules += host_joules * measured
            heat_joules[replica.rack] += joules + host_joules
        if measured:
            self._compare(start_seconds, seconds, rack_joules)
        spent_joules = sum(heat_joules.values())
        if self.climate is not None:
            spent_joules += self.climate.advance(
                now_seconds=self._events.now_seconds,
                seconds=seconds,
                rack_watts=[max(0.0, heat_joules[rack]) / seconds for rack in self._racks],
                measured=measured,
            )
        if measured and self._carbon is not None and self.grams_co2e is not None:
            self.grams_co2e += self._carbon.grams(spent_joules, now_seconds=start_seconds)

    def _compare(
        self, start_seconds: float, seconds: float, rack_joules: Mapping[str, float]
    ) -> None:
        if self.fleet_cap is not None:
            total_joules = sum(rack_joules.values())
            self.fleet_cap.add(start_seconds=start_seconds, seconds=seconds, joules=total_joules)
        for rack, meter in self.rack_caps.items():
            meter.add(start_seconds=start_seconds, seconds=seconds, joules=rack_joules[rack])

    def _idle_rack_watts(self) -> list[float]:
        watts = dict.fromkeys(self._racks, 0.0)
        for address, replica in self._replicas.items():
            watts[replica.rack] += replica.engine.truth.idle_watts + self._overhead_watts[address]
        return [watts[rack] for rack in self._racks]
