"""What the loop keeps of one configuration, and how it is found again after a restart."""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from capper.advice import Advice
from capper.api import API_VERSION, KIND
from capper.api.config import Metadata, PowerCappingConfig, Spec
from capper.carbon.looks import CarbonLook, memory_from
from capper.cooling.looks import CoolingLook
from capper.decide.document import from_document
from capper.decide.policy import Mode, TargetPolicy
from capper.decide.state import State
from capper.operator.served import ServedBounds
from capper.racks.looks import RackLook

_REMEMBERED_ACTIONS = 20
ORIGINAL_FIELD = "maxReplicas"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One configuration in force.

    Attributes:
        config: The last valid one.
        generation: Of the newest one, valid or not.
        problems: Of the newest one when it is not valid: then `config` is the one before it.
        state: The decision's memory.
        originals: Canonical ref -> bound before the capper, as its adapter writes it.
        refs: Ref as the user wrote it -> canonical ref, the object that is written.
        selected: Last answer of each selector, by its place in the list.
        status: Document as last written or read.
        actions: Newest first, for status.
        told: Subject -> last sentence that was told of it, so that nothing is told twice.
        carbon: What carbon said last.
        cooling: What cooling control did last.
        racks: What placement says of its racks; None: it has none.
        advice: What smoothing and vertical autoscaling say.
        served: Bounds that are told to KEDA instead of written; None: they are written.
    """

    config: PowerCappingConfig
    generation: int = 1
    problems: tuple[str, ...] = ()
    state: State = field(default_factory=State)
    originals: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    selected: dict[int, tuple[TargetPolicy, ...]] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    actions: deque[dict[str, Any]] = field(
        default_factory=lambda: deque(maxlen=_REMEMBERED_ACTIONS)
    )
    told: dict[str, str] = field(default_factory=dict)
    carbon: CarbonLook = field(default_factory=CarbonLook)
    cooling: CoolingLook = field(default_factory=CoolingLook)
    racks: RackLook | None = None
    advice: Advice = field(default_factory=Advice)
    served: ServedBounds | None = None

    @property
    def name(self) -> str:
        """Namespace and name, with a slash between."""
        return f"{self.config.metadata.namespace}/{self.config.metadata.name}"

    @property
    def enforces(self) -> bool:
        """Whether it may change anything."""
        return Mode(self.config.spec.mode) is Mode.ENFORCE


def remembered(config: PowerCappingConfig, status: Mapping[str, Any]) -> Entry:
    """The entry that wrote `status`, as far as it can be read; a new one for an empty status."""
    return Entry(
        config=config,
        generation=config.metadata.generation,
        state=state_of(status),
        carbon=CarbonLook(memory=memory_from(_memory(status).get("carbon"))),
        originals=dict(_originals(status)),
        refs={
            one["ref"]: one["actuationTarget"]
            for one in _objects(status, "targets")
            if one.get("ref") and one.get("actuationTarget")
        },
        status=dict(status),
        actions=deque(_objects(status, "lastActions"), maxlen=_REMEMBERED_ACTIONS),
    )


def skeleton(document: Mapping[str, Any]) -> PowerCappingConfig:
    """Stands for a configuration whose spec cannot be used: it has a name, and names nothing."""
    given = document.get("metadata") or {}
    known = {key: given[key] for key in ("name", "namespace", "generation", "uid") if key in given}
    return PowerCappingConfig.model_construct(
        api_version=API_VERSION,
        kind=KIND,
        metadata=Metadata.model_construct(**known),
        spec=Spec.model_construct(power_cap_limit=float("inf")),
    )


def state_of(status: Mapping[str, Any]) -> State:
    """The memory that a status holds; an empty one where it is damaged."""
    return from_document(_memory(status))


def _memory(status: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(status.get("state") or "{}")
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def take_generation(entry: Entry, config: PowerCappingConfig, *, known: bool) -> None:
    """Follow `config` from now on. A changed spec ends a fight with another writer."""
    before = entry.generation if known else entry.status.get("observedGeneration")
    entry.config, entry.problems = config, ()
    entry.generation = config.metadata.generation
    if before not in {None, entry.generation}:
        targets = {
            ref: replace(one, reverts=0, reverted_seconds=None)
            for ref, one in entry.state.targets.items()
        }
        entry.state = replace(entry.state, targets=targets)


def _originals(status: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for one in _objects(status, "originals"):
        if one.get("target") and one.get("field") == ORIGINAL_FIELD and one.get("value"):
            yield one["target"], one["value"]


def _objects(status: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = status.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
