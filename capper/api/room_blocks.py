"""The room: racks for new replicas, and cooling."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from capper.api.fields import (
    MAX_ITEMS,
    Celsius,
    PositiveSeconds,
    PositiveWatts,
    Query,
    ShortText,
    Text,
    Url,
)
from capper.api.rules import ApiModel, Rule
from capper.api.secret_block import SecretKeyRef
from capper.api.set_point_body import is_body

Kelvin = Annotated[float, Field(ge=0, le=100)]
CubicMetersPerSecond = Annotated[float, Field(ge=0, le=10_000)]
JsonPointer = Annotated[str, Field(pattern=r"^(/[^/]+)+$", max_length=1024)]


class RackQueries(ApiModel):
    """PromQL for what the racks' sensors say, where the recording rules are not to be asked.

    A query of racks gives one series for each rack, named by a label.
    """

    prometheus_address: Url | None = None
    """URL of the Prometheus to ask; by default the one that the capper was started with."""
    label: ShortText = "rack"
    """Label of the series that names the rack."""
    power_watts: Query | None = None
    """Watts of each rack; by default what the caps go by: `metrics` or the recording rules."""
    inlet_celsius: Query | None = None
    """Inlet temperature of each rack; by default `capper:rack_inlet_celsius`."""
    outlet_celsius: Query | None = None
    """Exhaust temperature of each rack; by default `capper:rack_outlet_celsius`."""
    airflow_cubic_meters_per_second: Query | None = None
    """Air through each rack; by default `capper:rack_airflow_cubic_meters_per_second`."""
    supply_celsius: Query | None = None
    """Supply temperature of the room, one number; by default `capper:supply_celsius`."""
    cooling_watts: Query | None = None
    """Power that cooling draws, one number; by default `capper:cooling_watts`."""


class Placement(ApiModel):
    """Where new replicas go."""

    policy: Literal["headroom", "minHR", "zbd", "coolest"] = "headroom"
    """How a rack is chosen for a new pod."""
    mode: Literal["SchedulingGates", "DeploymentAffinity"] = "SchedulingGates"
    """Gates touch new pods only. DeploymentAffinity restarts every pod of the workload."""
    rack_label: ShortText = "topology.headrace.dev/rack"
    """Node label that names the rack."""
    gate_seconds: PositiveSeconds = 30
    """A gate is lifted after this long in any case."""
    watts_per_replica: PositiveWatts | None = None
    """Watts of a gated pod of which neither its target nor its annotation tells."""
    reserve_seconds: PositiveSeconds = 1800
    """A reservation ends after this long, also when its pod never became ready."""
    require: bool = False
    """Require the rack, not only prefer it."""
    rebalance_by_eviction: bool = False
    """Allow evictions, one at a time, to empty a hot rack."""
    eviction_seconds: PositiveSeconds = 600
    """From one eviction to the next: inlets need 10 to 20 minutes to settle."""
    steer_scale_in: bool = True
    """Let planned cuts take replicas in racks over their limits first, then in the hottest."""
    recirculation_matrix: (
        Annotated[
            tuple[Annotated[tuple[float, ...], Field(max_length=MAX_ITEMS)], ...],
            Field(max_length=MAX_ITEMS),
        ]
        | None
    ) = None
    """Kelvin at inlet i for a watt at rack j, in the order of `rackConstraints`."""
    approach_celsius: Annotated[tuple[Kelvin, ...], Field(max_length=MAX_ITEMS)] = ()
    """Kelvin by which inlets are above the supply with all racks off: one, or one for each rack."""
    learn_matrix: bool = False
    """Learn the matrix, where none is given, from the history in Prometheus."""
    history_seconds: Annotated[float, Field(ge=3600, le=31_536_000)] = 604_800
    """How far back that history goes: a week by default."""
    queries: RackQueries = RackQueries()
    """Where the racks' sensors are read."""


class RackStatus(ApiModel):
    """What is known of one rack for placement."""

    rack_id: str
    """Its name."""
    observed_watts: float | None = None
    """Its watts; none while they are unknown."""
    reserved_watts: float = 0
    """Set aside for pods that were placed there and do not draw yet."""
    left_watts: float | None = None
    """What is left of its cap, less the part kept free."""
    inlet_celsius: float | None = None
    """Inlet temperature, where it is believed."""
    outlet_celsius: float | None = None
    """Exhaust temperature, where it is believed."""
    nodes: int = 0
    """Nodes that carry its label."""


class Cooling(ApiModel):
    """Set-points for a cooling manager."""

    adapter: Literal["dry-run", "http"] = "dry-run"
    """Who is told."""
    url: Url | None = None
    """Where the http adapter sends set-points, and reads them back."""
    method: Literal["PATCH", "PUT", "POST"] = "PATCH"
    """How they are sent."""
    body: Text = '{"SetPoint": $supplyCelsius}'
    """JSON; `$supplyCelsius`, `$airflowCubicMetersPerSecond` and `$validSeconds` are filled in."""
    read_pointer: JsonPointer = "/SetPoint"
    """Where in the answer to GET the set-point in force stands (RFC 6901)."""
    sensor_pointer: JsonPointer | None = None
    """Where the measured supply temperature stands; by default that of `placement.queries`."""
    secret_ref: SecretKeyRef | None = None
    """Bearer token of the http adapter."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    """For one question to the manager."""
    interval_seconds: Annotated[float, Field(ge=5, le=600)] = 30
    """From one set-point to the next; inlets take minutes to follow."""
    renew_seconds: PositiveSeconds = 60
    """A set-point that stays is written again after this long."""
    read_back_tolerance_celsius: Annotated[float, Field(ge=0, le=5)] = 0.2
    """How far what is read back may be from what was written."""
    min_supply_celsius: Celsius = 15
    """Lowest supply temperature."""
    max_supply_celsius: Celsius = 27
    """Highest supply temperature."""
    safe_supply_celsius: Celsius = 18
    """What is set when anything is unknown."""
    redline_celsius: Celsius = 27
    """Highest inlet temperature; a rack's own `maxTemperature` counts where it is lower."""
    margin_celsius: Annotated[float, Field(ge=0, le=20)] = 0.5
    """Kept below the redline: a sensor is good to about half a kelvin."""
    ramp_celsius_per_minute: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Fastest change upwards."""
    min_airflow_cubic_meters_per_second: CubicMetersPerSecond = 0
    """Least air through the room."""
    max_airflow_cubic_meters_per_second: CubicMetersPerSecond | None = None
    """Most air, and the safe amount; none means that the air flow is not set."""
    air_rise_celsius: Annotated[float, Field(gt=0, le=50)] = 12
    """Outlet over inlet at which the air flow is set."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minSupplyCelsius <= self.safeSupplyCelsius"
            " && self.safeSupplyCelsius <= self.maxSupplyCelsius",
            lambda it: it.min_supply_celsius <= it.safe_supply_celsius <= it.max_supply_celsius,
            "must lie between minSupplyCelsius and maxSupplyCelsius",
            "safeSupplyCelsius",
        ),
        Rule(
            "(self.adapter == 'http') == has(self.url)",
            lambda it: (it.adapter == "http") == (it.url is not None),
            "belongs to adapter http, which needs it",
            "url",
        ),
        Rule(
            "!has(self.maxAirflowCubicMetersPerSecond)"
            " || self.minAirflowCubicMetersPerSecond <= self.maxAirflowCubicMetersPerSecond",
            lambda it: (
                it.max_airflow_cubic_meters_per_second is None
                or it.min_airflow_cubic_meters_per_second <= it.max_airflow_cubic_meters_per_second
            ),
            "must not be above maxAirflowCubicMetersPerSecond",
            "minAirflowCubicMetersPerSecond",
        ),
        Rule(
            "!self.body.contains('$airflowCubicMetersPerSecond')"
            " || has(self.maxAirflowCubicMetersPerSecond)",
            lambda it: (
                "$airflowCubicMetersPerSecond" not in it.body
                or it.max_airflow_cubic_meters_per_second is not None
            ),
            "has an air flow, which needs maxAirflowCubicMetersPerSecond",
            "body",
        ),
        Rule(
            None,
            lambda it: is_body(it.body),
            "must be JSON once its $ names are numbers; they are $supplyCelsius, which must be"
            " there, $airflowCubicMetersPerSecond and $validSeconds",
            "body",
        ),
    )
