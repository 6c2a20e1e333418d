"""VerticalPodAutoscalers (autoscaling.k8s.io/v1) as the capper reads them. Pure.

They recommend CPU and memory only; GPUs are neither recommended nor resized. KEDA cannot read them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capper.kube.kinds import KubeObject, at

RESOURCES = ("cpu", "memory")
_ALL = "*"
_OFF = "Off"
DEFAULT_MODE = "Recreate"
"""Of the API since 1.6: what an update policy without a mode means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpa:
    """One of them.

    Attributes:
        namespace: Its own and its target's.
        name: Its name.
        target: (kind, name) of what it speaks of.
        mode: Off recommends only; the others change the requests of new pods at least.
        policies: Container ("*": all others) -> resources it controls; empty: none.
        targets: Container -> resource -> recommended request.
    """

    namespace: str
    name: str
    target: tuple[str, str]
    mode: str
    policies: Mapping[str, frozenset[str]]
    targets: Mapping[str, Mapping[str, Any]]

    @property
    def acts(self) -> bool:
        """Whether it changes requests."""
        return self.mode != _OFF

    def controls(self, container: str) -> frozenset[str]:
        """Resources that it sets for a container."""
        default = self.policies.get(_ALL, frozenset(RESOURCES))
        return self.policies.get(container, default)

    def controlled(self) -> frozenset[str]:
        """Resources that it sets for any container."""
        # Its recommendation tells which containers there are; before there is one, anything may be.
        listed = self.targets or dict.fromkeys((_ALL, *self.policies))
        return frozenset[str]().union(*(self.controls(name) for name in listed))

    def requests(self) -> dict[str, dict[str, Any]]:
        """Container -> requests that its next pods get; empty where it only recommends."""
        if not self.acts:
            return {}
        found = {}
        for container, target in self.targets.items():
            controls = self.controls(container)
            chosen = {name: text for name, text in target.items() if name in controls}
            if chosen:
                found[container] = chosen
        return found


def vpa_of(obj: KubeObject) -> Vpa | None:
    """From the object; None where it names no target."""
    target = at(obj, ("spec", "targetRef")) or {}
    if not target.get("kind") or not target.get("name"):
        return None
    told = at(obj, ("status", "recommendation", "containerRecommendations")) or ()
    return Vpa(
        namespace=at(obj, ("metadata", "namespace")) or "default",
        name=at(obj, ("metadata", "name")) or "",
        target=(target["kind"], target["name"]),
        mode=at(obj, ("spec", "updatePolicy", "updateMode")) or DEFAULT_MODE,
        policies=dict(_policies(obj)),
        targets={
            one["containerName"]: one.get("target") or {}
            for one in told
            if one.get("containerName")
        },
    )


def unsupported(obj: KubeObject) -> list[str]:
    """One sentence for each resource that no VerticalPodAutoscaler can manage."""
    name = at(obj, ("metadata", "name")) or ""
    found = []
    for index, policy in enumerate(_container_policies(obj)):
        place = f"VerticalPodAutoscaler {name}: spec.resourcePolicy.containerPolicies[{index}]"
        for field in ("controlledResources", "minAllowed", "maxAllowed"):
            listed = policy.get(field)
            named = map(str, listed) if isinstance(listed, list | dict) else ()
            others = sorted(set(named) - set(RESOURCES))
            if others:
                found.append(
                    f"{place}.{field}: names {', '.join(others)}; only cpu and memory are"
                    " recommended and resized, GPUs of a running pod cannot change."
                )
    return found


def _container_policies(obj: KubeObject) -> Sequence[KubeObject]:
    """Those that are objects: a file may hold anything."""
    found = at(obj, ("spec", "resourcePolicy", "containerPolicies"))
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _policies(obj: KubeObject) -> Iterator[tuple[str, frozenset[str]]]:
    for policy in _container_policies(obj):
        listed = policy.get("controlledResources")
        controls = frozenset(RESOURCES if listed is None else listed)
        yield (
            policy.get("containerName") or _ALL,
            frozenset() if policy.get("mode") == _OFF else controls,
        )
