"""What a configuration acts on: references to workloads, and racks and domains with their caps."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from capper.api.fields import (
    MAX_ITEMS,
    Count,
    Name,
    Number,
    PositiveWatts,
    Power,
    Priority,
    Replicas,
    ShortText,
    Watts,
)
from capper.api.rules import ApiModel, Rule

Kind = Literal[
    "ScaledObject",
    "InferenceService",
    "LLMInferenceService",
    "Deployment",
    "StatefulSet",
    "HorizontalPodAutoscaler",
]

API_VERSIONS: dict[str, str] = {
    "ScaledObject": "keda.sh/v1alpha1",
    "InferenceService": "serving.kserve.io/v1beta1",
    "LLMInferenceService": "serving.kserve.io/v1alpha2",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}
"""The version that is written, by kind; it is used when a reference names none."""


def group_of(kind: str) -> str:
    """The API group of a kind."""
    return API_VERSIONS[kind].split("/", maxsplit=1)[0]


class RefMetadata(ApiModel):
    """Which object, in the form of the original design."""

    name: Name
    """Name of the object, in the namespace of this resource."""


class TargetLimits(ApiModel):
    """What may be done to one workload."""

    min_replicas: Replicas | None = None
    """Never fewer than this; by default the workload's own minimum."""
    max_replicas: Replicas | None = None
    """Never more than this, also without a power problem; by default the workload's own maximum."""
    priority: Priority = 0
    """Higher keeps its replicas longer when watts are short."""
    watts_per_replica: PositiveWatts | None = None
    """Power of one more replica; by default the 95th percentile of the last hour."""
    domain: ShortText | None = None
    """The domain of `domains` whose cap this workload counts against; by default the whole."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas)"
            " || self.minReplicas <= self.maxReplicas",
            lambda it: (
                it.min_replicas is None
                or it.max_replicas is None
                or it.min_replicas <= it.max_replicas
            ),
            "must not be above maxReplicas",
            "minReplicas",
        ),
    )


class ScaleObjectRef(TargetLimits):
    """One workload, named as in the original design."""

    api_version: Name | None = None
    """Group and version of the object; by default those of its kind that Headrace writes."""
    kind: Kind = "ScaledObject"
    """Kind of the object; one that KServe owns is followed to its owner."""
    metadata: RefMetadata
    """Names the object."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *TargetLimits.rules,
        Rule(
            "!has(self.apiVersion) || self.apiVersion.split('/')[0] == {"
            + ", ".join(f"'{kind}': '{group_of(kind)}'" for kind in API_VERSIONS)
            + "}[self.kind]",
            lambda it: it.api_version is None or it.api_version.split("/")[0] == group_of(it.kind),
            "must be of the kind's group",
            "apiVersion",
        ),
    )


class TargetSelector(TargetLimits):
    """All workloads with these labels, found as they come and go."""

    kind: Kind = "Deployment"
    """Kind of the objects to enrol."""
    match_labels: Annotated[dict[ShortText, str], Field(min_length=1, max_length=16)]
    """Labels that the object must have, all of them."""


class RackConstraint(ApiModel):
    """Limits of one rack."""

    rack_id: ShortText
    """Name of the rack, as in the nodes' rack label or the fleet file."""
    max_power: Power
    """Watts, for all of the rack: a number, or text with a unit ("18kW")."""
    max_temperature: Number | None = None
    """Highest inlet temperature in degrees Celsius."""
    idle_watts: Watts = 0
    """What it draws with all replicas idle: heat budgets go no lower."""
    airflow_cubic_meters_per_second: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Air through it, where no sensor tells; with all of them known a matrix counts air, too."""


class Domain(ApiModel):
    """A part of the power tree with a cap of its own: a feed, a row, a PDU."""

    name: ShortText
    """Name of the domain."""
    parent: ShortText | None = None
    """Domain that feeds this one; none means the whole."""
    cap_watts: PositiveWatts
    """Watts that this domain may draw."""
    racks: Annotated[tuple[ShortText, ...], Field(max_length=MAX_ITEMS)] = ()
    """Racks that hang on this domain."""
    query: str | None = None
    """PromQL for the watts of this domain; by default the sum of its racks and targets."""


class LegacyMetric(ApiModel):
    """A metric in the original design's form, which is KEDA's trigger in short."""

    type: ShortText = "prometheus"
    """`prometheus`, or the name of an installed metric adapter."""
    prometheus_address: Annotated[str, Field(max_length=2048)] | None = None
    """URL of the Prometheus to ask; by default the one that the capper was started with."""
    query: Annotated[str, Field(min_length=1, max_length=8192)]
    """Must give one number of watts: a scalar, or a vector with one element."""
    threshold: Number | None = None
    """Watts at which this metric alone counts as at the cap; by default `powerCapLimit`."""
    domain: ShortText | None = None
    """Rack or domain that the query measures; none means the whole."""
    scope_count: Count | None = None
    """How many series the query should rest on, for coverage; by default not checked."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'prometheus' || !has(self.prometheusAddress)"
            " || self.prometheusAddress.startsWith('http://')"
            " || self.prometheusAddress.startsWith('https://')",
            lambda it: (
                it.type != "prometheus"
                or it.prometheus_address is None
                or it.prometheus_address.startswith(("http://", "https://"))
            ),
            "must be a URL that starts with http:// or https://",
            "prometheusAddress",
        ),
    )
