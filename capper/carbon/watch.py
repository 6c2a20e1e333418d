"""Asks the carbon providers of all configurations, each as often as it wishes."""

from dataclasses import dataclass, replace

from capper.api.environment_blocks import Carbon, CarbonProvider
from capper.carbon.caps import CarbonLook, CarbonMemory, Drawn, look_at
from capper.carbon.providers import IntensityError, Provider, provider_of
from capper.decide.carbon import Slot
from capper.decide.plan import Plan


@dataclass(slots=True)
class _Source:
    """A provider and what it told last; that stays good for its hours when it is silent later."""

    spec: CarbonProvider
    provider: Provider | None = None
    slots: tuple[Slot, ...] = ()
    problem: str = ""
    asked_seconds: float | None = None


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
        """What carbon says of one configuration now."""
        if carbon is None or not carbon.enabled:
            self._sources.pop(name, None)
            return CarbonLook(memory=replace(memory, eco_since_seconds=None))
        source = self._sources.get(name)
        if source is None or source.spec != carbon.provider:
            source = self._sources[name] = _Source(carbon.provider)
        await _refresh(source, now_seconds)
        return look_at(
            carbon,
            source.slots,
            memory,
            drawn,
            problem=source.problem,
            now_seconds=now_seconds,
        )


async def _refresh(source: _Source, now_seconds: float) -> None:
    asked = source.asked_seconds
    if asked is not None and abs(now_seconds - asked) < source.spec.refresh_seconds:
        return
    source.asked_seconds = now_seconds
    try:
        if source.provider is None:
            source.provider = provider_of(source.spec)
        source.slots = await source.provider.slots(now_seconds)
        source.problem = ""
    except IntensityError as error:
        source.problem = str(error)


def drawn_of(cap_watts: float, plan: Plan | None) -> Drawn:
    """The watts of the last turn; floors take as much of them as of the replicas."""
    if plan is None or not plan.domains:
        return Drawn(cap_watts=cap_watts)
    watts = plan.domains[0].watts
    replicas = sum(one.current_replicas or 0 for one in plan.targets)
    floors = sum(min(one.floor, one.current_replicas or 0) for one in plan.targets)
    floor_watts = None if watts is None or not replicas else watts * floors / replicas
    return Drawn(cap_watts=cap_watts, watts=watts, floor_watts=floor_watts)
