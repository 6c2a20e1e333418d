"""Where the topology comes from while the router runs, and what comes with it.

A source gives views. A view is whole and frozen: whoever adopts one needs nothing of the last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from fleet.topology import Fleet
from telemetry.served_models import ServedModels


class RewriteTarget(NamedTuple):
    """One name that a model is rewritten to, with its share of the requests."""

    model: str
    weight: int


class RewriteRule(NamedTuple):
    """What requests for some models are rewritten to.

    Attributes:
        models: Names as clients send them; empty means every model.
        targets: In declaration order; shares are by weight.
    """

    models: frozenset[str]
    targets: tuple[RewriteTarget, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """Everything a source knows of the fleet at one moment.

    Attributes:
        fleet: The topology; without backends while a pool has no pod.
        served: Address -> what `/v1/models` said there; empty where nobody asked.
        priorities: InferenceObjective name -> priority (below 0: sheddable).
        rewrites: In order of precedence.
        absent_models: Models that were served and have no replica at present: scaled to zero
            rather than unknown.
        problems: One sentence for each thing that could not be used as declared.
    """

    fleet: Fleet
    served: Mapping[str, ServedModels] = field(default_factory=lambda: MappingProxyType({}))
    priorities: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    rewrites: tuple[RewriteRule, ...] = ()
    absent_models: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """Whether the newest view is still what the source's own source says.

    Attributes:
        current: False: the router serves on from the last good view.
        detail: One sentence for people.
        age_seconds: Since the view was last known to hold; None before the first.
    """

    current: bool
    detail: str
    age_seconds: float | None


class FleetSourceError(Exception):
    """There is no first view; one sentence says why."""


class FleetSource(Protocol):
    """A topology that may change while the router runs."""

    @property
    def name(self) -> str:
        """Short, for logs and metrics."""
        ...

    async def start(self, publish: Callable[[FleetView], None]) -> FleetView:
        """Give the first view; later ones go to `publish`, in the event loop.

        Raises:
            FleetSourceError: When there is no first view to be had.
        """
        ...

    def state(self, *, now_seconds: float) -> SourceState:
        """How the source stands now."""
        ...

    async def stop(self) -> None:
        """End; nothing is published afterwards."""
        ...


def rewrite(rules: Iterable[RewriteRule], model: str, *, draw: float) -> str:
    """The name that a request for `model` goes on with: `model` itself when no rule speaks of it.

    A rule that names the model comes before one for every model, whatever their order; among
    several the first counts.

    Args:
        rules: In order of precedence.
        model: As the client sent it.
        draw: Uniform in [0, 1); chooses among the targets by weight.
    """
    rules = tuple(rules)
    if not rules:
        return model
    named = (rule for rule in rules if model in rule.models)
    general = (rule for rule in rules if not rule.models)
    rule = next(named, None) or next(general, None)
    targets = [] if rule is None else [each for each in rule.targets if each.weight > 0]
    left = draw * sum(target.weight for target in targets)
    for target in targets:
        model = target.model
        left -= target.weight
        if left < 0:
            break
    return model
