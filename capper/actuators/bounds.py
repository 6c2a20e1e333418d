"""Where an object keeps its replica bounds, and how one number is dealt over several. Pure.

Most kinds have one bound. An LLMInferenceService with disaggregated serving has two, of its decode
and of its prefill pods: the cap speaks of both together, so they are read as a sum and written as
a split. What nothing scales has a count in place of a bound.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from capper.kube.kinds import LLM_INFERENCE_SERVICE, Kind, KubeObject, Path, at

_COUNT: Path = ("spec", "replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One field that bounds replicas.

    Attributes:
        path: Of the field.
        value: What it says; None: it is not set.
        minimum: Replicas that its autoscaler keeps at least.
        maximum: In force when it is not ours; None: none.
        is_count: Nothing scales these replicas: the field is their number itself.
    """

    path: Path
    value: int | None
    minimum: int
    maximum: int | None
    is_count: bool = False


def bounds_of(kind: Kind, obj: KubeObject) -> tuple[Bound, ...]:
    """The fields that bound the replicas of an object, at least one."""
    if kind is LLM_INFERENCE_SERVICE:
        parts = [("spec",), ("spec", "prefill")] if at(obj, ("spec", "prefill")) else [("spec",)]
        return tuple(_of_part(obj, part) for part in parts)
    if kind.max_path is None:
        return (_count(obj, _COUNT),)
    value = at(obj, kind.max_path)
    minimum = at(obj, kind.min_path) if kind.min_path else None
    return (
        Bound(
            path=kind.max_path,
            value=value,
            minimum=kind.default_min if minimum is None else minimum,
            maximum=kind.default_max if value is None else value,
        ),
    )


def least_of(bounds: Sequence[Bound]) -> int:
    """The smallest joint bound: an autoscaler's is 1 at least, of KEDA and KServe, too."""
    return sum(not bound.is_count for bound in bounds)


def present(bounds: Sequence[Bound]) -> str:
    """What the fields say, as JSON: a number or null, a list of them for several fields."""
    values = [bound.value for bound in bounds]
    return json.dumps(values[0] if len(values) == 1 else values)


def values_of(text: str, fields: int) -> list[int | None]:
    """The values that `present` wrote; unknown (None) where the number of fields changed since."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    values = found if isinstance(found, list) else [found]
    if len(values) != fields or not all(isinstance(one, int | None) for one in values):
        return [None] * fields
    return values


def original_max(text: str) -> int | None:
    """The joint bound that `present` wrote; None when there was none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    values = found if isinstance(found, list) else [found]
    known = [one for one in values if isinstance(one, int)]
    return sum(known) if known and len(known) == len(values) else None


def split(total: int, bounds: Sequence[Bound], current: Sequence[int]) -> list[int]:
    """Deal a joint bound over the fields.

    Each gets its minimum first. Up to what runs now they are cut in proportion to it, so that a
    joint freeze is a freeze of each; beyond, they grow in proportion to their own maxima.

    Args:
        total: The joint bound.
        bounds: The fields, with `maximum` as it was before the capper.
        current: Replicas of each now.
    """
    dealt = [max(bound.minimum, 0 if bound.is_count else 1) for bound in bounds]
    left = total - sum(dealt)
    tops = [
        max(0, now, *dealt) if bound.maximum is None else bound.maximum
        for bound, now in zip(bounds, current, strict=True)
    ]
    for limits in (current, tops):
        while left > 0:
            open_ = [i for i, limit in enumerate(limits) if dealt[i] < limit]
            if not open_:
                break
            least = min(open_, key=lambda i: dealt[i] / limits[i])
            dealt[least] += 1
            left -= 1
    return dealt


def _of_part(obj: KubeObject, part: Path) -> Bound:
    if at(obj, (*part, "scaling")) is None:
        count = at(obj, (*part, "replicas"))
        path = (*part, "replicas")
        top = 1 if count is None else count
        return Bound(path=path, value=count, minimum=0, maximum=top, is_count=True)
    value = at(obj, (*part, "scaling", "maxReplicas"))
    minimum = at(obj, (*part, "scaling", "minReplicas"))
    return Bound(
        path=(*part, "scaling", "maxReplicas"),
        value=value,
        minimum=1 if minimum is None else minimum,
        maximum=value,
    )


def _count(obj: KubeObject, path: Path) -> Bound:
    return Bound(path=path, value=at(obj, path), minimum=0, maximum=None, is_count=True)
