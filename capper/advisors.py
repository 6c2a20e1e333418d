"""What smoothing and vertical autoscaling say of a configuration, once a turn.

Both read in the background: a turn takes what is known and never waits for them.
"""

from dataclasses import replace
from functools import partial

from capper.advice import Advice, Held
from capper.api.config import PowerCappingConfig
from capper.decide.policy import Policy
from capper.operator.journal import Event, Journal
from capper.smoothing.saying import CONDITION, condition_of, status_of
from capper.smoothing.watch import SmoothingWatch
from capper.vertical.looks import FRAGMENTED
from capper.vertical.watch import VerticalWatch
from fleet.clock import Clock

_PENDING = "Planning"


class Advisors:
    """Asks both, and tells an event when what one of them says is new."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        smoothing: SmoothingWatch,
        vertical: VerticalWatch | None = None,
    ) -> None:
        """Connect.

        Args:
            journal: For events.
            clock: For their times.
            smoothing: The plans.
            vertical: None without Kubernetes.
        """
        self._journal = journal
        self._clock = clock
        self._smoothing = smoothing
        self._vertical = vertical
        self._told: dict[tuple[str, str], tuple[object, ...]] = {}

    def look(self, name: str, config: PowerCappingConfig, policy: Policy) -> Advice:
        """See Adviser."""
        plan = self._smoothing.look(name, config, policy.domains)
        conditions: dict[str, Held] = {}
        held = condition_of(plan)
        if held is not None:
            conditions[CONDITION] = held
        advice = Advice(
            conditions=conditions,
            smoothing=status_of(plan),
            board=partial(self._smoothing.board, name),
            placed=partial(self._smoothing.placed, name),
        )
        if self._vertical is not None:
            refs = [one.ref for one in policy.targets]
            found = self._vertical.look(name, config.spec.vertical, refs)
            advice = replace(
                advice,
                conditions={**conditions, **found.conditions},
                extra_watts=found.extra_watts,
                vertical=found.statuses,
            )
        self._tell(name, config, advice)
        return advice

    async def settled(self) -> None:
        """Wait until neither reads."""
        await self._smoothing.settled()
        if self._vertical is not None:
            await self._vertical.settled()

    def forget(self, name: str) -> None:
        """A configuration is gone."""
        self._smoothing.forget(name)
        if self._vertical is not None:
            self._vertical.forget(name)
        self._told = {key: said for key, said in self._told.items() if key[0] != name}

    async def aclose(self) -> None:
        """Stop reading."""
        await self._smoothing.aclose()
        if self._vertical is not None:
            await self._vertical.aclose()

    def _tell(
        self,
        name: str,
        config: PowerCappingConfig,
        advice: Advice,
    ) -> None:
        """An event for each condition that is new or says something else."""
        conditions = advice.conditions
        for kind, held in conditions.items():
            key, said = (name, kind), _said(kind, held, advice)
            if held[1] == _PENDING or self._told.get(key) == said:
                continue
            self._told[key] = said
            good = kind == CONDITION and held[0]
            event = Event("Normal" if good else "Warning", kind, held[2])
            self._journal.tell(config, event, now_seconds=self._clock.epoch_seconds())
        ended = [key for key in self._told if key[0] == name and key[1] not in conditions]
        for key in ended:
            del self._told[key]


def _said(kind: str, held: Held, advice: Advice) -> tuple[object, ...]:
    """What makes it news: figures that move by themselves do not."""
    if kind == CONDITION and held[0]:
        return (True, None if advice.smoothing is None else advice.smoothing.planned_time)
    return held[:2] if kind == FRAGMENTED else held
