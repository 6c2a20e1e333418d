"""InferenceObjectives and InferenceModelRewrites of llm-d.ai, where they are installed."""

from collections.abc import Iterator, Mapping

from telemetry.fleet_source import RewriteRule, RewriteTarget
from telemetry.kubernetes.objects import KubeObject, Store, at, named, policy_keys
from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind


def read_priorities(settings: KubernetesSettings, store: Store) -> dict[str, int]:
    """Objective name -> priority, of all pools; of one name in two pools the first target's."""
    found: dict[str, int] = {}
    for target in _pools(settings):
        for obj in store.of(policy_keys(target)[0]):
            priority = at(obj, "spec", "priority")
            if _speaks_of(obj, target):
                found.setdefault(at(obj, "metadata", "name"), int(priority or 0))
    return found


def read_rewrites(settings: KubernetesSettings, store: Store) -> tuple[RewriteRule, ...]:
    """All rules, older resources first, as llm-d ranks them."""
    rules: list[RewriteRule] = []
    for target in _pools(settings):
        objects = [obj for obj in store.of(policy_keys(target)[1]) if _speaks_of(obj, target)]
        for obj in sorted(objects, key=_age):
            rules += (
                rule
                for entry in at(obj, "spec", "rules") or ()
                if (rule := _rule(entry)) is not None and rule not in rules
            )
    return tuple(rules)


def _pools(settings: KubernetesSettings) -> Iterator[Target]:
    return (each for each in settings.targets if each.kind is TargetKind.INFERENCE_POOL)


def _speaks_of(obj: KubeObject, target: Target) -> bool:
    reference = at(obj, "spec", "poolRef")
    group = at(reference, "group")
    return at(reference, "name") == target.name and group in (None, "", target.group)


def _age(obj: KubeObject) -> tuple[str, str]:
    return at(obj, "metadata", "creationTimestamp") or "", named(obj)


def _rule(entry: Mapping[str, object]) -> RewriteRule | None:
    """None: it has no target, or its matches are of a type that is not known."""
    matches, targets = entry.get("matches") or (), entry.get("targets") or ()
    if not isinstance(matches, list | tuple) or not isinstance(targets, list | tuple):
        return None
    models = frozenset(
        at(match, "model", "value")
        for match in matches
        if (at(match, "model", "type") or "Exact") == "Exact" and at(match, "model", "value")
    )
    if matches and not models:
        return None
    chosen = tuple(
        # A target without a weight beside others has an equal share.
        RewriteTarget(target["modelRewrite"], int(target.get("weight", 1)))
        for target in targets
        if target.get("modelRewrite")
    )
    return RewriteRule(models, chosen) if chosen else None
