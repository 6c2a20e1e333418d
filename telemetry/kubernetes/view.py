"""Endpoints and what they serve, made into a fleet: objects in, a FleetView out."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from fleet.priors import ACCELERATORS, prior_profile
from fleet.profile import Profile
from fleet.topology import Backend, Fleet, Objective, Replica
from telemetry.fleet_source import FleetView
from telemetry.kubernetes import hardware
from telemetry.kubernetes.endpoints import Endpoint, Found
from telemetry.kubernetes.hardware import Annotations
from telemetry.kubernetes.objects import NODES, KubeObject, Store, at
from telemetry.kubernetes.pool_policies import read_priorities, read_rewrites
from telemetry.kubernetes.settings import KubernetesSettings
from telemetry.served_models import ServedModels

_ISVC = "serving.kserve.io/inferenceservice"
_PART_OF, _LLM = "app.kubernetes.io/part-of", "llminferenceservice"
_T = TypeVar("_T")
_MAX_RUNNING_REQUESTS = 256  # vLLM's default --max-num-seqs


class _Kin(NamedTuple):
    """What replicas of one backend have in common."""

    owner: str
    accelerator: str
    gpus_per_replica: int


class _Member(NamedTuple):
    """An endpoint with everything found out about it."""

    endpoint: Endpoint
    annotations: Annotations
    served: ServedModels
    domain: str


def build_view(
    settings: KubernetesSettings, store: Store, found: Found, served: Mapping[str, ServedModels]
) -> FleetView:
    """The fleet of `found`, which is of the same `store`.

    Args:
        settings: What is looked for.
        store: All objects.
        found: Endpoints among them (telemetry.kubernetes.endpoints.find).
        served: Address -> models. An endpoint that is not in it is left out: nobody knows what it
            may be asked for.
    """
    problems = list(found.problems)
    nodes = {at(node, "metadata", "name"): node for node in store.of(NODES)}
    families: defaultdict[_Kin, list[_Member]] = defaultdict(list)
    for endpoint in found.endpoints:
        annotations, wrong = hardware.read_annotations(endpoint.spec or {})
        problems += (f"Pod {endpoint.namespace}/{endpoint.pod}: {each}." for each in wrong)
        models = served.get(endpoint.address)
        if annotations.models:
            models = ServedModels(base=annotations.models)
        if models is None:
            continue
        node = nodes.get(endpoint.node)
        domain = annotations.domain or at(node, "metadata", "labels", settings.rack_label)
        member = _Member(endpoint, annotations, models, domain or settings.default_domain)
        families[_kin(settings, endpoint, annotations, node)].append(member)
    backends = _backends(settings, families, problems)
    members = (member for family in families.values() for member in family)
    return FleetView(
        fleet=Fleet(backends),
        served={member.endpoint.address: member.served for member in members},
        priorities=read_priorities(settings, store),
        rewrites=read_rewrites(settings, store),
        problems=tuple(sorted(set(problems))),
    )


def owner_name(pod: KubeObject | None, namespace: str) -> str:
    """Give "namespace/name" of what a person made: InferenceService, Deployment, StatefulSet."""
    labels: Mapping[str, str] = at(pod, "metadata", "labels") or {}
    if isvc := labels.get(_ISVC):
        return f"{namespace}/{isvc}"
    if labels.get(_PART_OF) == _LLM and (llm := labels.get("app.kubernetes.io/name")):
        return f"{namespace}/{llm}"
    for reference in at(pod, "metadata", "ownerReferences") or ():
        if reference.get("controller"):
            name: str = reference["name"]
            # A Deployment names its ReplicaSets by itself and the hash that it labels pods with.
            if reference["kind"] == "ReplicaSet":
                name = name.removesuffix(f"-{labels.get('pod-template-hash', '')}")
            return f"{namespace}/{name}"
    return f"{namespace}/{at(pod, 'metadata', 'name') or 'replicas'}"


def _kin(
    settings: KubernetesSettings, endpoint: Endpoint, told: Annotations, node: KubeObject | None
) -> _Kin:
    product = hardware.product(node)
    accelerator = told.accelerator or (hardware.accelerator_of(product) if product else "")
    gpus = hardware.gpu_count(endpoint.spec or {}) // endpoint.ports
    return _Kin(
        owner=owner_name(endpoint.spec, endpoint.namespace),
        accelerator=accelerator or settings.default_accelerator,
        gpus_per_replica=told.gpus_per_replica or max(1, gpus),
    )


def _backends(
    settings: KubernetesSettings,
    families: Mapping[_Kin, list[_Member]],
    problems: list[str],
) -> tuple[Backend, ...]:
    """One for each family; the hardware is in the name only where an owner has several kinds."""
    owners = [kin.owner for kin in families]
    backends = []
    for kin in sorted(families):
        name = kin.owner
        if owners.count(kin.owner) > 1:
            name = f"{kin.owner}@{kin.gpus_per_replica}x{kin.accelerator}"
        backends.append(_backend(settings, name, kin, families[kin], problems))
    return tuple(backends)


def _backend(
    settings: KubernetesSettings,
    name: str,
    kin: _Kin,
    members: list[_Member],
    problems: list[str],
) -> Backend:
    told = [member.annotations for member in members]
    parameters = _first(each.parameters for each in told) or _parameters(members)
    limits = [each.max_running_requests for each in told] + [
        hardware.max_running_requests(member.endpoint.spec or {}) for member in members
    ]
    if parameters is None:
        parameters = settings.default_parameters
        problems.append(
            f"Backend {name}: the name of its model does not tell its size; "
            f"{parameters:g} parameters are assumed."
        )
    usual = Objective()
    return Backend(
        name=name,
        accelerator=kin.accelerator,
        gpus_per_replica=kin.gpus_per_replica,
        parameters=parameters,
        max_running_requests=_first(limits) or _MAX_RUNNING_REQUESTS,
        objective=replace(
            usual,
            ttft_seconds=_first(each.ttft_seconds for each in told) or usual.ttft_seconds,
            tpot_seconds=_first(each.tpot_seconds for each in told) or usual.tpot_seconds,
        ),
        profile=_profile(settings, name, kin, parameters, problems),
        replicas=tuple(_replica(name, member) for member in members),
    )


def _profile(
    settings: KubernetesSettings,
    name: str,
    kin: _Kin,
    parameters: float,
    problems: list[str],
) -> Profile:
    """The prior of the accelerator, or, named as an assumption, of another one."""
    known = kin.accelerator if kin.accelerator in ACCELERATORS else settings.default_accelerator
    profile = prior_profile(known, parameters=parameters, gpus_per_replica=kin.gpus_per_replica)
    if known == kin.accelerator:
        return profile
    problems.append(
        f"Backend {name}: there is no prior for {kin.accelerator}; that of {known} is used until "
        "it is learned."
    )
    return replace(
        profile, assumptions=(*profile.assumptions, f"{kin.accelerator} taken for {known}")
    )


def _replica(backend: str, member: _Member) -> Replica:
    endpoint = member.endpoint
    return Replica(
        address=endpoint.address,
        backend=backend,
        models=member.served.names(),
        namespace=endpoint.namespace,
        pod=endpoint.pod,
        node=endpoint.node,
        domain=member.domain,
    )


def _parameters(members: list[_Member]) -> float | None:
    names = dict.fromkeys(
        name for member in members for name in (member.served.root, *member.served.base)
    )
    return hardware.parameters_of(tuple(names))


def _first(values: Iterable[_T | None]) -> _T | None:
    return next((value for value in values if value is not None), None)
