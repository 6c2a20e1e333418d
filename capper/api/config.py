"""PowerCappingConfig itself: its spec, and the resource around it."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from capper.api import API_VERSION, KIND
from capper.api.carbon_blocks import Carbon
from capper.api.clock_block import GpuClocks
from capper.api.fields import MAX_ITEMS, Name, Power, Priority
from capper.api.policy_blocks import (
    Brake,
    ExternalScaler,
    Freshness,
    Price,
    ReplicaBounds,
    Safety,
    Thresholds,
)
from capper.api.room_blocks import Cooling, Placement
from capper.api.rules import ApiModel, Rule
from capper.api.smoothing_block import Smoothing
from capper.api.targets import (
    Domain,
    LegacyMetric,
    RackConstraint,
    ScaleObjectRef,
    TargetSelector,
)
from capper.api.vertical_block import Vertical
from capper.decide.policy import ROOT


def _domain_parents_exist(spec: "Spec") -> bool:
    names = {domain.name for domain in spec.domains}
    return all(domain.parent is None or domain.parent in names for domain in spec.domains)


def _children_fit(spec: "Spec") -> bool:
    caps = {domain.name: domain.cap_watts for domain in spec.domains}
    return all(
        domain.cap_watts <= caps.get(domain.parent or "", spec.power_cap_limit)
        for domain in spec.domains
    )


def _parents_end(spec: "Spec") -> bool:
    """No domain is its own ancestor. CEL cannot loop, so the API server sees one level only."""
    parents = {domain.name: domain.parent for domain in spec.domains}
    for name, parent in parents.items():
        seen, above = {name}, parent
        while above is not None:
            if above in seen:
                return False
            seen.add(above)
            above = parents.get(above)
    return True


def _unique(names: list[str]) -> bool:
    return len(names) == len(set(names))


def _matrix_is_square(spec: "Spec") -> bool:
    if spec.placement is None or spec.placement.recirculation_matrix is None:
        return True
    size = len(spec.rack_constraints)
    matrix = spec.placement.recirculation_matrix
    return len(matrix) == size and all(len(row) == size for row in matrix)


class Spec(ApiModel):
    """What to keep under which cap, and how."""

    power_cap_limit: Power
    """Watts that everything named here may draw together: a number, or text ("12.5kW")."""
    deployment_name: Name | None = None
    """A Deployment to keep under the cap: the original design's short form of one target."""
    scale_object_ref: Annotated[tuple[ScaleObjectRef, ...], Field(max_length=MAX_ITEMS)] = ()
    """The workloads that are kept under the cap."""
    scaled_object_refs: Annotated[tuple[ScaleObjectRef, ...], Field(max_length=MAX_ITEMS)] = ()
    """Deprecated spelling of `scaleObjectRef`; both lists are joined."""
    target_selectors: Annotated[tuple[TargetSelector, ...], Field(max_length=16)] = ()
    """Workloads to enrol by their labels."""
    metrics: Annotated[tuple[LegacyMetric, ...], Field(max_length=64)] = ()
    """Queries for the watts; by default Headrace's own recording rules."""
    rack_constraints: Annotated[tuple[RackConstraint, ...], Field(max_length=MAX_ITEMS)] = ()
    """Limits by rack."""
    domains: Annotated[tuple[Domain, ...], Field(max_length=64)] = ()
    """The power tree between the whole and the racks."""
    mode: Literal["Observe", "Recommend", "Enforce"] = "Observe"
    """Observe measures, Recommend also says what it would do, Enforce does it."""
    priority: Priority = 0
    """Which configuration gives way when two share a domain's budget."""
    thresholds: Thresholds = Thresholds()
    """Bands around the cap."""
    freshness: Freshness = Freshness()
    """When measurements are believed."""
    safety: Safety = Safety()
    """Margins, ramps and guards."""
    price: Price = Price()
    """First rung: the router's price of power."""
    gpu_clocks: GpuClocks = GpuClocks()
    """Second rung: GPU clocks."""
    replica_bounds: ReplicaBounds = ReplicaBounds()
    """Third rung: replicas."""
    brake: Brake = Brake()
    """Last rung: shedding requests."""
    external_scaler: ExternalScaler = ExternalScaler()
    """KEDA external scaler."""
    carbon: Carbon | None = None
    """Grid carbon."""
    placement: Placement | None = None
    """Racks for new pods."""
    cooling: Cooling | None = None
    """Set-points for cooling."""
    smoothing: Smoothing | None = None
    """Dealing services over the power tree."""
    vertical: Vertical | None = None
    """VerticalPodAutoscalers of the targets."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.deploymentName) || self.scaleObjectRef.size() > 0"
            " || self.scaledObjectRefs.size() > 0 || self.targetSelectors.size() > 0",
            lambda it: bool(
                it.deployment_name
                or it.scale_object_ref
                or it.scaled_object_refs
                or it.target_selectors
            ),
            "names no workload: give scaleObjectRef, targetSelectors or deploymentName",
        ),
        Rule(
            "self.domains.all(d, self.domains.exists_one(e, e.name == d.name))",
            lambda it: _unique([domain.name for domain in it.domains]),
            "names must be unique",
            "domains",
        ),
        Rule(
            "self.rackConstraints.all(r, self.rackConstraints.exists_one(e, e.rackId == r.rackId))",
            lambda it: _unique([rack.rack_id for rack in it.rack_constraints]),
            "rackId must be unique",
            "rackConstraints",
        ),
        Rule(
            f"self.domains.all(d, d.name != '{ROOT}'"
            " && !self.rackConstraints.exists(r, r.rackId == d.name))",
            lambda it: (
                not (
                    {domain.name for domain in it.domains}
                    & {ROOT, *(rack.rack_id for rack in it.rack_constraints)}
                )
            ),
            f"names must not be those of racks, nor {ROOT}, which is the whole",
            "domains",
        ),
        Rule(
            None,
            lambda it: _unique([rack for domain in it.domains for rack in domain.racks]),
            "a rack must be in one domain only",
            "domains",
        ),
        Rule(
            "self.domains.all(d, !has(d.parent)"
            " || self.domains.exists(p, p.name == d.parent && p.name != d.name))",
            lambda it: _domain_parents_exist(it) and _parents_end(it),
            "each parent must be another domain of the list, and the tree must end",
            "domains",
        ),
        Rule(
            "self.domains.all(d, !has(d.parent)"
            " || self.domains.all(p, p.name != d.parent || d.capWatts <= p.capWatts))",
            _children_fit,
            "capWatts must not be above the parent's",
            "domains",
        ),
        Rule(
            "!has(self.placement) || !has(self.placement.recirculationMatrix)"
            " || self.placement.recirculationMatrix.size() == self.rackConstraints.size()"
            " && self.placement.recirculationMatrix.all(row,"
            " row.size() == self.rackConstraints.size())",
            _matrix_is_square,
            "must have one row and one column per rackConstraints entry",
            "placement.recirculationMatrix",
        ),
    )

    def refs(self) -> list[ScaleObjectRef]:
        """All single workloads: both spellings, and the one of `deploymentName`."""
        refs = [*self.scale_object_ref, *self.scaled_object_refs]
        if self.deployment_name is not None:
            deployment = {
                "kind": "Deployment",
                "metadata": {"name": self.deployment_name},
            }
            # The original examples name the Deployment and its ScaledObject: one workload.
            if not refs:
                refs.append(ScaleObjectRef.model_validate(deployment))
        return refs


class Metadata(ApiModel):
    """What Headrace reads of the object's metadata; the rest is the API server's."""

    model_config = ConfigDict(extra="allow")

    name: Name
    namespace: Name = "default"
    generation: int = 1
    uid: str = ""


class PowerCappingConfig(ApiModel):
    """One PowerCappingConfig, as it is read from a file or the cluster."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: Spec
    status: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_ours(self) -> Self:
        if (self.api_version, self.kind) != (API_VERSION, KIND):
            raise ValueError(f"apiVersion and kind must be {API_VERSION} and {KIND}")
        return self
