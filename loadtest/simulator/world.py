"""What is simulated and who decides in it: values that a run is made from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.topology import Fleet
from loadtest.engine_state import Limits
from loadtest.simulator.actuators import ActuatorModel
from loadtest.simulator.caps import Caps
from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.climate import Room
from loadtest.simulator.control import Controller
from loadtest.simulator.observation import TelemetryModel
from loadtest.simulator.sensors import SensorModel
from loadtest.truth import Truth
from router.decide.policies import Policy
from router.decide.settings import DecideSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A policy and what it is allowed to know.

    Attributes:
        name: In reports.
        settings: Of the decision; `settings.policy` names the rule.
        policy: A rule that is not among the router's own, or None. It may keep state, so an arm
            is made anew for every run.
        telemetry: How its telemetry behaves.
        knows_lengths: Told each answer's length beforehand (an oracle).
        sees_truth: Shown the true state before every pick (a clairvoyant).
        controller: Makes the control loop beside it, or None.
        workers: Router processes that requests are dealt to.
        shared_ledger: Whether these know of each other's requests.
    """

    name: str
    settings: DecideSettings = field(default_factory=DecideSettings)
    policy: Policy | None = None
    telemetry: TelemetryModel = field(default_factory=TelemetryModel)
    knows_lengths: bool = False
    sees_truth: bool = False
    controller: Callable[[], Controller] | None = None
    workers: int = 1
    shared_ledger: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        kind: "telemetry-lost", "sensor-lost", "replica-wedged", "power-bias" or "router-away".
        start_seconds: When it begins.
        duration_seconds: How long it lasts.
        address: The replica, for the kinds that have one.
        ratio: Of a power bias.
    """

    kind: str
    start_seconds: float
    duration_seconds: float
    address: str | None = None
    ratio: float = 1.0

    @property
    def end_seconds(self) -> float:
        """When it is over."""
        return self.start_seconds + self.duration_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is simulated, whatever the policy. All times are those of the simulation.

    Attributes:
        fleet: What the router is told: topology, objectives, prior profiles.
        truths: Backend name -> what its boards really do.
        limits: Backend name -> settings of its engines.
        window_seconds: How long is measured; arrivals end with it.
        warmup_seconds: Simulated before that and not measured, so that a policy is judged by how
            it carries a load and not by how it meets one out of nothing.
        max_tokens: What requests ask for; their true lengths are not told.
        priority: Of all requests; below 0 they may be shed.
        faults: What goes wrong.
        sensors: How boards are measured and collected.
        actuators: How long orders take.
        control_period_seconds: Between two decisions of a control loop.
        caps: What may be drawn, if that is limited.
        room: Thermal model of the racks, or None.
        carbon: Of the grid, or None.
        overhead_watts_per_gpu: Declared power of the hosts; it warms racks and emits.
        compression_ratio: Seconds of the day in a second; see `loadtest.simulator.compression`.
    """

    fleet: Fleet
    truths: dict[str, Truth]
    limits: dict[str, Limits] = field(default_factory=dict)
    window_seconds: float
    warmup_seconds: float = 0.0
    max_tokens: int = 2048
    priority: int = 0
    faults: tuple[Fault, ...] = ()
    sensors: SensorModel = field(default_factory=SensorModel)
    actuators: ActuatorModel = field(default_factory=ActuatorModel)
    control_period_seconds: float = 1.0
    caps: Caps = field(default_factory=Caps)
    room: Room | None = None
    carbon: CarbonSeries | None = None
    overhead_watts_per_gpu: float = 0.0
    compression_ratio: float = 1.0

    @property
    def end_seconds(self) -> float:
        """When the window ends."""
        return self.warmup_seconds + self.window_seconds
