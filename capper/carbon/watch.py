"""The carbon feeds of all configurations, read once a turn and never waited for long."""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import aiocache

from capper.api.carbon_blocks import Carbon, CarbonProvider
from capper.carbon.caps import look_at
from capper.carbon.looks import CarbonLook, CarbonMemory, Drawn, FeedTold
from capper.decide.carbon import Slot
from capper.decide.plan import Plan
from capper.secret_keys import NoSecrets, SecretError, Secrets
from telemetry.carbon.building import FeedSettings, feed_of
from telemetry.carbon.failures import FeedSettingsError
from telemetry.carbon.feed import CarbonFeed
from telemetry.carbon.local_feeds import ChainedFeed
from telemetry.carbon.slots import IntensityKind

_log = logging.getLogger(__name__)
# Only a feed's first answer and a key are waited for; caps are more urgent than carbon.
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Source:
    """Feeds as declared, keys included, and what they make."""

    settings: tuple[FeedSettings, ...]
    feed: CarbonFeed


class CarbonWatch:
    """The carbon side of the loop."""

    def __init__(
        self, secrets: Secrets | None = None, *, environ: Mapping[str, str] | None = None
    ) -> None:
        """Know nobody yet.

        Args:
            secrets: Where `secretRef` leads.
            environ: Where keys are looked up without one; the process's when None.
        """
        self._secrets = secrets or NoSecrets()
        self._environ = os.environ if environ is None else environ
        self._sources: dict[str, _Source] = {}
        self._problems: dict[str, str] = {}
        # Configurations of a namespace may read the same Secrets, so also each other's answers:
        # many of them on one grid are one question.
        self._caches: dict[str, aiocache.BaseCache] = {}

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
        slots, told = await self._told(name, carbon, now_seconds)
        return look_at(
            carbon, slots, memory, drawn, problem=told.problem, now_seconds=now_seconds, told=told
        )

    async def forget(self, name: str) -> None:
        """Close the feed of a configuration that has gone or asks another one."""
        self._problems.pop(name, None)
        source = self._sources.pop(name, None)
        if source is not None:
            await source.feed.aclose()

    async def aclose(self) -> None:
        """Close all feeds."""
        for name in tuple(self._sources):
            await self.forget(name)

    async def _told(
        self, name: str, carbon: Carbon, now_seconds: float
    ) -> tuple[tuple[Slot, ...], FeedTold]:
        declared = [one for one in (carbon.provider, carbon.fallback) if one is not None]
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                namespace = name.partition("/")[0]
                settings = [await self._settings_of(one, namespace) for one in declared]
                feed = await self._feed(name, tuple(settings))
                reading = await feed.read(now_epoch_seconds=now_seconds)
        except (FeedSettingsError, SecretError) as error:
            await self._close(name)
            problem = f"carbon.provider: {error}"
            self._note(name, problem)
            return (), FeedTold(problem=problem)
        except TimeoutError:
            return (), _silent_of(self._sources.get(name))
        except Exception:  # noqa: BLE001 - supervisor: whatever a feed does, power is capped
            _log.exception("%s: reading the carbon feed failed", name)
            return (), FeedTold(problem="Reading the feed failed, the log says how.")
        self._note(name, None)
        slots = tuple(
            Slot(
                start_seconds=one.start_epoch_seconds,
                end_seconds=one.end_epoch_seconds,
                grams_per_kilowatt_hour=one.grams_per_kilowatt_hour,
            )
            for one in reading.slots
        )
        return slots, FeedTold(
            source=reading.source,
            kind=reading.kind.value,
            estimated=reading.estimated,
            age_seconds=reading.age_seconds,
            until_seconds=slots[-1].end_seconds if slots else None,
            problem=reading.reason or reading.problem or "",
            failures={reason.value: count for reason, count in feed.failures.items()},
        )

    async def _settings_of(self, spec: CarbonProvider, namespace: str) -> FeedSettings:
        key = spec.secret_ref
        return FeedSettings(
            type=spec.type,
            zone=spec.zone,
            grams_per_kilowatt_hour=spec.grams_per_kilowatt_hour,
            path=spec.path,
            kind=IntensityKind(spec.figures),
            refresh_seconds=spec.refresh_seconds,
            base_url=spec.base_url,
            credential=None
            if key is None
            else await self._secrets.read(namespace, key.name, key.key),
            timeout_seconds=spec.timeout_seconds,
        )

    async def _feed(self, name: str, settings: tuple[FeedSettings, ...]) -> CarbonFeed:
        """The feed of these settings; another key than before makes another feed."""
        source = self._sources.get(name)
        if source is not None and source.settings == settings:
            return source.feed
        await self._close(name)
        cache = self._caches.setdefault(name.partition("/")[0], aiocache.SimpleMemoryCache())
        feeds = [feed_of(one, environ=self._environ, cache=cache) for one in settings]
        feed = feeds[0] if len(feeds) == 1 else ChainedFeed(feeds)
        self._sources[name] = _Source(settings, feed)
        return feed

    async def _close(self, name: str) -> None:
        source = self._sources.pop(name, None)
        if source is not None:
            await source.feed.aclose()

    def _note(self, name: str, problem: str | None) -> None:
        """One line for each change; what a feed says it logs itself."""
        if problem is not None and self._problems.get(name) != problem:
            _log.warning("%s: %s", name, problem)
            self._problems[name] = problem
        elif problem is None and self._problems.pop(name, None) is not None:
            _log.info("%s: carbon.provider can be asked again.", name)


def _silent_of(source: _Source | None) -> FeedTold:
    if source is None:
        return FeedTold(problem="The key of the carbon provider has not come yet.")
    problem = f"{source.feed.source} has not answered yet."
    return FeedTold(source=source.feed.source, kind=source.feed.kind.value, problem=problem)


def drawn_of(cap_watts: float, plan: Plan | None) -> Drawn:
    """The watts of the last turn; floors take as much of them as of the replicas."""
    if plan is None or not plan.domains:
        return Drawn(cap_watts=cap_watts)
    watts = plan.domains[0].watts
    replicas = sum(one.current_replicas or 0 for one in plan.targets)
    floors = sum(min(one.floor, one.current_replicas or 0) for one in plan.targets)
    floor_watts = None if watts is None or not replicas else watts * floors / replicas
    return Drawn(cap_watts=cap_watts, watts=watts, floor_watts=floor_watts)
