"""Which addresses a target's objects stand for: ready pods, port by port."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from telemetry.kubernetes.objects import (
    KubeObject,
    Store,
    at,
    named,
    pods_key,
    pool_key,
    slices_key,
)
from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind

_KSERVE_PORT = 8080  # of KServe's serving runtimes
_LLM_PORT = 8000  # of KServe's LLMInferenceService, and vLLM's own default


class Endpoint(NamedTuple):
    """One address that may be sent requests, before it is known what it serves.

    Attributes:
        address: "ip:port".
        namespace: Of its pod.
        pod: Its pod's name; None when an EndpointSlice names none.
        uid: Tells this pod from another with its name or address.
        node: Where it runs, when known.
        ports: How many replicas its pod has.
        spec: The pod, when it can be read.
    """

    address: str
    namespace: str
    pod: str | None
    uid: str
    node: str | None
    ports: int
    spec: KubeObject | None


class Found(NamedTuple):
    """What there is to serve, and what was wrong with it."""

    endpoints: tuple[Endpoint, ...]
    problems: tuple[str, ...]


def find(settings: KubernetesSettings, store: Store) -> Found:
    """All endpoints of all targets, each address and each pod once, sorted by address.

    A pod of two targets belongs to the one whose object is older, then to the one declared first;
    of two pods with one address (host network) the first by namespace and name has it.
    """
    problems: list[str] = []
    owners: dict[str, Target] = {}
    endpoints: dict[str, Endpoint] = {}
    for target in _by_age(settings.targets, store):
        contested: dict[str, set[str]] = {}
        for endpoint in _of_target(target, store, problems):
            owner = owners.setdefault(endpoint.uid, target)
            if owner is not target:
                contested.setdefault(str(owner), set()).add(endpoint.pod or endpoint.address)
            elif (taken := endpoints.setdefault(endpoint.address, endpoint)).uid != endpoint.uid:
                problems.append(
                    f"Pods {taken.pod} and {endpoint.pod} in {target.namespace} have one address "
                    f"{endpoint.address}; {taken.pod} is served."
                )
        problems += [
            f"{target} and {owner} both select {', '.join(sorted(pods))}; {owner} has them."
            for owner, pods in contested.items()
        ]
    return Found(
        tuple(endpoints[address] for address in sorted(endpoints)), tuple(sorted(problems))
    )


def join_address(ip: str, port: int) -> str:
    """Write "ip:port", with brackets around IPv6."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def is_ready(pod: KubeObject) -> bool:
    """Whether new requests may go to a pod: running, ready and not on its way out."""
    if at(pod, "metadata", "deletionTimestamp") or at(pod, "status", "phase") != "Running":
        return False
    conditions = at(pod, "status", "conditions") or ()
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in conditions
    )


def _by_age(targets: Iterable[Target], store: Store) -> list[Target]:
    """Older pools first; what is no pool after them, as declared."""

    def age(target: Target) -> tuple[str, str]:
        if target.kind is not TargetKind.INFERENCE_POOL:
            return "~", ""
        created = at(store.one(pool_key(target)), "metadata", "creationTimestamp")
        return created or "~", f"{target.namespace}/{target.name}"

    return sorted(targets, key=age)


def _of_target(target: Target, store: Store, problems: list[str]) -> Iterator[Endpoint]:
    key = pods_key(target, store)
    pods = store.of(key) if key is not None else []
    if target.kind is TargetKind.SERVICE:
        yield from _of_slices(target, store, pods)
        return
    if target.kind is TargetKind.INFERENCE_POOL and store.one(pool_key(target)) is None:
        problems.append(f"{target} does not exist.")
    ports = _ports(target, store)
    for pod in pods:
        component = at(pod, "metadata", "labels", "component")
        if target.kind is TargetKind.INFERENCE_SERVICE and component not in (None, "predictor"):
            continue
        ip = at(pod, "status", "podIP")
        if ip and is_ready(pod):
            yield from _of_pod(pod, ip, ports)


def _ports(target: Target, store: Store) -> tuple[int, ...]:
    if target.ports:
        return target.ports
    if target.kind is TargetKind.INFERENCE_SERVICE:
        return (_KSERVE_PORT,)
    if target.kind is not TargetKind.INFERENCE_POOL:
        return (_LLM_PORT,)
    pool = store.one(pool_key(target))
    numbers = [port.get("number") for port in at(pool, "spec", "targetPorts") or ()]
    if not numbers and (single := at(pool, "spec", "targetPortNumber")):
        numbers = [single]  # before v1
    return tuple(dict.fromkeys(numbers))


def _of_pod(pod: KubeObject, ip: str, ports: tuple[int, ...]) -> Iterator[Endpoint]:
    for port in ports:
        yield Endpoint(
            address=join_address(ip, port),
            namespace=at(pod, "metadata", "namespace"),
            pod=at(pod, "metadata", "name"),
            uid=at(pod, "metadata", "uid") or named(pod),
            node=at(pod, "spec", "nodeName"),
            ports=len(ports),
            spec=pod,
        )


def _of_slices(target: Target, store: Store, pods: list[KubeObject]) -> Iterator[Endpoint]:
    """Endpoints that are ready and not terminating; what a slice does not say counts as ready."""
    by_name = {at(pod, "metadata", "name"): pod for pod in pods}
    for piece in store.of(slices_key(target)):
        ports = tuple(
            port["port"]
            for port in piece.get("ports") or ()
            if port.get("port") and (not target.ports or port["port"] in target.ports)
        )
        for entry in piece.get("endpoints") or ():
            conditions: Mapping[str, bool | None] = entry.get("conditions") or {}
            if conditions.get("ready") is False or conditions.get("terminating"):
                continue
            name = at(entry, "targetRef", "name")
            pod = by_name.get(name)
            if pod is not None and at(pod, "metadata", "deletionTimestamp"):
                continue
            ip = entry["addresses"][0]
            for port in ports:
                yield Endpoint(
                    address=join_address(ip, port),
                    namespace=target.namespace,
                    pod=name,
                    uid=at(pod, "metadata", "uid") or f"{target.namespace}/{name or ip}",
                    node=entry.get("nodeName") or at(pod, "spec", "nodeName"),
                    ports=len(ports),
                    spec=pod,
                )
