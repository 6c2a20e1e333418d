"""What carbon knows of one configuration, from turn to turn. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from capper.decide.carbon import CarbonState
from capper.decide.policy import NamedCap


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonMemory:
    """What is remembered from turn to turn.

    Attributes:
        state: Of schedule and budget.
        eco_since_seconds: Since when carbon asks for less than `powerCapLimit`, without a break.
    """

    state: CarbonState = field(default_factory=CarbonState)
    eco_since_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedTold:
    """What the feed said, apart from its figures.

    Attributes:
        source: Who.
        kind: `average` or `marginal`; None: there is no feed.
        estimated: Whether the present figure is a forecast or an estimate; None: not known.
        age_seconds: Of the answer; None: there is none.
        until_seconds: End of the last slot, epoch time; None: there is none.
        problem: What is wrong with it although it may still serve; empty: nothing.
        failures: Questions that gave nothing usable, by reason.
    """

    source: str = ""
    kind: str | None = None
    estimated: bool | None = None
    age_seconds: float | None = None
    until_seconds: float | None = None
    problem: str = ""
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonLook:
    """What carbon says now.

    Attributes:
        caps: On the whole; empty while carbon is silent.
        memory: For the next turn.
        active: Whether the configuration has a carbon block that is switched on.
        grams_per_kilowatt_hour: Intensity now; None: not known.
        emitted_grams: In the present period; None: nothing is counted.
        budget_grams: Of the period; None: without a budget.
        period_end_seconds: End of the present period, epoch time.
        asked_watts: The lowest cap that carbon asks for, silent or not; None: none.
        silent: Why it lowers nothing although it may ask for it; empty: it is not silent.
        unknown: Why the intensity is not known; empty: it is.
        told: By the feed.
    """

    caps: tuple[NamedCap, ...] = ()
    memory: CarbonMemory = field(default_factory=CarbonMemory)
    active: bool = False
    grams_per_kilowatt_hour: float | None = None
    emitted_grams: float | None = None
    budget_grams: float | None = None
    period_end_seconds: float | None = None
    asked_watts: float | None = None
    silent: str = ""
    unknown: str = ""
    told: FeedTold = field(default_factory=FeedTold)

    @property
    def budget_left_grams(self) -> float | None:
        """Of the period; below 0 it was exceeded; None: without a budget."""
        if self.budget_grams is None or self.emitted_grams is None:
            return None
        return self.budget_grams - self.emitted_grams

    @property
    def kind_changed(self) -> str:
        """A sentence while the period holds figures of two kinds; empty: it does not."""
        state = self.memory.state
        if not self.active or state.kind_changed_seconds is None:
            return ""
        return (
            f"the figures are of another kind ({state.kind}) since this period began: what was "
            "emitted before the change counts as its part of the budget"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Watts of the whole.

    Attributes:
        cap_watts: `powerCapLimit`.
        watts: Measured last; None: not known.
        floor_watts: What the floors of all targets draw of it; None: not known.
    """

    cap_watts: float
    watts: float | None = None
    floor_watts: float | None = None


def memory_document(memory: CarbonMemory) -> dict[str, Any]:
    """JSON values."""
    return asdict(memory)


def memory_from(document: object) -> CarbonMemory:
    """The memory of a document; an empty one where it is damaged."""
    if not isinstance(document, Mapping) or not isinstance(document.get("state"), Mapping):
        return CarbonMemory()
    stored = document["state"]
    numbers = {
        one.name: stored.get(one.name)
        for one in fields(CarbonState)
        if one.name != "kind" and isinstance(stored.get(one.name), int | float)
    }
    kind = stored.get("kind")
    state = replace(CarbonState(), **numbers, kind=kind if isinstance(kind, str) else None)
    since = document.get("eco_since_seconds")
    known = float(since) if isinstance(since, int | float) else None
    return CarbonMemory(state=state, eco_since_seconds=known)
