"""The carbon feeds of all configurations, read once a turn and never waited for long."""

import asyncio
import os
from dataclasses import dataclass, replace

from capper.api.carbon_blocks import Carbon, CarbonProvider
from capper.carbon.caps import CarbonLook, CarbonMemory, Drawn, look_at
from capper.decide.carbon import Slot
from capper.decide.plan import Plan
from telemetry.carbon.building import FeedSettings, feed_of
from telemetry.carbon.failures import FeedSettingsError
from telemetry.carbon.feed import CarbonFeed

# Only a feed's first answer is waited for; caps are more urgent than carbon.
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Source:
    """A provider as declared, and its feed; None: the sentence says why there is none."""

    spec: CarbonProvider
    feed: CarbonFeed | None
    problem: str = ""


class CarbonWatch:
    """The carbon side of the loop."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._sources: dict[str, _Source] = {}

    async def look(
        self,
        name: str,
        carbon: Carbon | None,
        memory: CarbonMemory,
        drawn: Drawn,
        *,
        now_seconds: float,
    ) -> CarbonLook:
        """What carbon says of one configuration now.

        Args:
            name: "namespace/name".
            carbon: Its block.
            memory: From the last turn.
            drawn: Watts of the last turn.
            now_seconds: Epoch time.
        """
        if carbon is None or not carbon.enabled:
            await self.forget(name)
            return CarbonLook(memory=replace(memory, eco_since_seconds=None))
        source = self._sources.get(name)
        if source is None or source.spec != carbon.provider:
            await self.forget(name)
            source = self._sources[name] = _source_of(carbon.provider)
        slots, problem = await _read(source, now_seconds)
        return look_at(carbon, slots, memory, drawn, problem=problem, now_seconds=now_seconds)

    async def forget(self, name: str) -> None:
        """Close the feed of a configuration that has gone or asks another one."""
        source = self._sources.pop(name, None)
        if source is not None and source.feed is not None:
            await source.feed.aclose()

    async def aclose(self) -> None:
        """Close all feeds."""
        for name in tuple(self._sources):
            await self.forget(name)


def drawn_of(cap_watts: float, plan: Plan | None) -> Drawn:
    """The watts of the last turn; floors take as much of them as of the replicas."""
    if plan is None or not plan.domains:
        return Drawn(cap_watts=cap_watts)
    watts = plan.domains[0].watts
    replicas = sum(one.current_replicas or 0 for one in plan.targets)
    floors = sum(min(one.floor, one.current_replicas or 0) for one in plan.targets)
    floor_watts = None if watts is None or not replicas else watts * floors / replicas
    return Drawn(cap_watts=cap_watts, watts=watts, floor_watts=floor_watts)


def _source_of(spec: CarbonProvider) -> _Source:
    settings = FeedSettings(
        type=spec.type,
        zone=spec.zone,
        grams_per_kilowatt_hour=spec.grams_per_kilowatt_hour,
        path=spec.path,
        refresh_seconds=spec.refresh_seconds,
    )
    try:
        return _Source(spec, feed_of(settings, environ=os.environ))
    except FeedSettingsError as error:
        return _Source(spec, None, f"carbon.provider: {error}")


async def _read(source: _Source, now_seconds: float) -> tuple[tuple[Slot, ...], str]:
    """What is known, and why the present figure is not."""
    if source.feed is None:
        return (), source.problem
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            reading = await source.feed.read(now_epoch_seconds=now_seconds)
    except TimeoutError:
        return (), f"{source.feed.source} has not answered yet."
    slots = tuple(
        Slot(
            start_seconds=one.start_epoch_seconds,
            end_seconds=one.end_epoch_seconds,
            grams_per_kilowatt_hour=one.grams_per_kilowatt_hour,
        )
        for one in reading.slots
    )
    return slots, reading.reason or ""
