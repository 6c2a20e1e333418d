"""What is believed of the racks' sensors: the last answers, what cannot be, and what hangs."""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import replace

from capper.api.room_blocks import RackQueries
from capper.decide.observation import Sample
from capper.decide.stillness import Stillness
from capper.observe.askers import Askers
from capper.observe.question import UnusableError
from capper.racks.questions import ROOM, samples, texts
from capper.racks.sensed import ByRack, Sensed
from fleet.clock import Clock
from telemetry.promql import QueryError

_ASK_SECONDS = 10.0
_CELSIUS = (0.0, 120.0)
_UNBELIEVED = math.nan


class Sensors:
    """Asks the sensors of one configuration now and then."""

    def __init__(self, askers: Askers, url: str | None, clock: Clock) -> None:
        """Ask through `askers`, at `url` where the configuration names no address."""
        self._askers = askers
        self._url = url
        self._clock = clock
        self._stillness = Stillness()
        self._sensed = Sensed()
        self._asked_seconds = -math.inf

    async def read(self, queries: RackQueries) -> Sensed:
        """The last answers, asked anew when they are old; ages are as of now."""
        now_seconds = self._clock.monotonic_seconds()
        url = queries.prometheus_address or self._url
        if url is None:
            return Sensed()
        if now_seconds - self._asked_seconds >= _ASK_SECONDS:
            self._asked_seconds = now_seconds
            self._sensed = await self._ask(url.rstrip("/"), queries)
        later = self._clock.monotonic_seconds() - self._asked_seconds
        return _aged(self._sensed, later)

    def keep(self, racks: Iterable[str]) -> None:
        """Forget what the sensors of all other racks said."""
        keys = {(rack, sensor) for rack in racks for sensor in ("inlet", "outlet")}
        self._stillness.keep(frozenset(keys))

    def believed(
        self, rack: str, sensor: str, sample: Sample | None, watts: float | None
    ) -> tuple[Sample | None, str]:
        """The temperature of a rack, or NaN with the sentence why it is not believed."""
        if sample is None or sample.value is None:
            return sample, ""
        value, told = sample.value, f"the {sensor} sensor of rack {rack}"
        if not (math.isfinite(value) and _CELSIUS[0] < value < _CELSIUS[1]):
            why = f"{told} says {value:.6g} C, which cannot be"
            return sample._replace(value=_UNBELIEVED), why
        if sensor == "inlet" and value.is_integer():
            # Of a sensor of whole degrees nobody can tell: recirculation moves inlets by less.
            return sample, ""
        measured = self._clock.monotonic_seconds() - sample.age_seconds
        if self._stillness.hangs((rack, sensor), value, measured_seconds=measured, watts=watts):
            why = f"{told} says {value:g} C all the time while the rack's power moves: it hangs"
            return sample._replace(value=_UNBELIEVED), why
        return sample, ""

    async def _ask(self, url: str, queries: RackQueries) -> Sensed:
        asked = texts(queries)
        answers = await asyncio.gather(*(self._one(url, text, queries) for text in asked.values()))
        found = dict(zip(asked, (answer for answer, _ in answers), strict=True))
        problems = [
            f"placement.queries.{_camel(name)}: {why}"
            for name, (_, why) in zip(asked, answers, strict=True)
            if why
        ]
        return Sensed(
            power=found.get("power_watts", {}),
            inlet=found.get("inlet_celsius", {}),
            outlet=found["outlet_celsius"],
            airflow=found["airflow_cubic_meters_per_second"],
            supply=found["supply_celsius"].get(ROOM),
            cooling=found["cooling_watts"].get(ROOM),
            problems=tuple(dict.fromkeys(problems)),
        )

    async def _one(self, url: str, text: str, queries: RackQueries) -> tuple[ByRack, str]:
        try:
            rows, late_seconds = await self._askers.rows(url, text)
        except (UnusableError, QueryError) as error:
            return {}, str(error)
        found = samples(rows, queries.label)
        return {key: _older(one, late_seconds) for key, one in found.items()}, ""


def _older(sample: Sample, seconds: float) -> Sample:
    return sample._replace(age_seconds=sample.age_seconds + seconds)


def _aged(sensed: Sensed, seconds: float) -> Sensed:
    def all_older(found: ByRack) -> ByRack:
        return {rack: _older(one, seconds) for rack, one in found.items()}

    return replace(
        sensed,
        power=all_older(sensed.power),
        inlet=all_older(sensed.inlet),
        outlet=all_older(sensed.outlet),
        airflow=all_older(sensed.airflow),
        supply=None if sensed.supply is None else _older(sensed.supply, seconds),
        cooling=None if sensed.cooling is None else _older(sensed.cooling, seconds),
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
