"""What the capper decides: typed actions in order, conditions, and why."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

from capper.decide.state import Band, State


class ShedLevel(IntEnum):
    """What a domain refuses."""

    NOTHING = 0
    SHEDDABLE = 1
    ALL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The reason of an action.

    Attributes:
        sentence: For people.
        figures: What it was based on: (name with its unit, value).
        next_change_seconds: Epoch time before which this does not change by itself; None: any time.
    """

    sentence: str
    figures: tuple[tuple[str, float], ...] = ()
    next_change_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SetPrice:
    """Power in `domain` costs the router `ratio` times as much."""

    domain: str
    ratio: float
    why: Why


@dataclass(frozen=True, slots=True)
class SetClock:
    """Lock the SM clocks of all replicas of `target` at or below `hertz`."""

    target: str
    hertz: float
    why: Why


@dataclass(frozen=True, slots=True)
class ReleaseClock:
    """Take the lock off."""

    target: str
    why: Why


@dataclass(frozen=True, slots=True)
class SetPowerLimit:
    """Limit the boards of every replica of `target` to `watts`, those of one replica together."""

    target: str
    watts: float
    why: Why


@dataclass(frozen=True, slots=True)
class ReleasePowerLimit:
    """Take the limit off: what the boards were set to before holds again."""

    target: str
    why: Why


@dataclass(frozen=True, slots=True)
class SetMaxReplicas:
    """Write the bound.

    Attributes:
        target: Ref.
        replicas: The bound; never below the target's floor.
        previous_replicas: What the object said, None when unset: what to save before the first.
        why: Reason.
        current_replicas: Running when this was decided, to tell a cut from a freeze.
    """

    target: str
    replicas: int
    previous_replicas: int | None
    why: Why
    current_replicas: int = 0


@dataclass(frozen=True, slots=True)
class RestoreMaxReplicas:
    """Put back what the object said before the capper (None: no bound)."""

    target: str
    replicas: int | None
    why: Why


@dataclass(frozen=True, slots=True)
class PauseScaleOut:
    """Stop growth without naming a number."""

    target: str
    why: Why


@dataclass(frozen=True, slots=True)
class ResumeScaleOut:
    """Allow growth up to the bound again."""

    target: str
    why: Why


@dataclass(frozen=True, slots=True)
class EvictReplica:
    """Remove one replica of `target` by eviction; at least `floor` ready ones stay."""

    target: str
    floor: int
    why: Why


@dataclass(frozen=True, slots=True)
class SetShed:
    """Refuse sheddable requests of `domain`, or none again."""

    domain: str
    level: ShedLevel
    why: Why


@dataclass(frozen=True, slots=True)
class Brake:
    """Refuse all new work of `domain`."""

    domain: str
    why: Why


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is done about `subject` (a target or a domain), for a reason worth telling."""

    subject: str
    why: Why


Action = (
    SetPrice
    | SetClock
    | ReleaseClock
    | SetPowerLimit
    | ReleasePowerLimit
    | SetMaxReplicas
    | RestoreMaxReplicas
    | PauseScaleOut
    | ResumeScaleOut
    | EvictReplica
    | SetShed
    | Brake
)
"""What an actuator carries out. `Hold` is none: it only explains."""


class ConditionType(StrEnum):
    """Conditions of the resource that the decision knows of."""

    TELEMETRY_STALE = "TelemetryStale"
    COVERAGE_LOW = "CoverageLow"
    CAP_EXCEEDED = "CapExceeded"
    BUDGET_OVER_ALLOCATED = "BudgetOverAllocated"
    REVERT_FIGHT = "RevertFight"
    OSCILLATION = "Oscillation"
    OVERLAP = "Overlap"
    INLET_HOT = "InletHot"
    SENSOR_IMPLAUSIBLE = "SensorImplausible"
    CAP_UNREACHABLE = "CapUnreachable"
    SLOW_ACTUATORS = "SlowActuators"
    CARBON_UNKNOWN = "CarbonUnknown"
    CARBON_FEED_FAILING = "CarbonFeedFailing"
    CARBON_KIND_CHANGED = "CarbonKindChanged"
    COOLING_UNKNOWN = "CoolingUnknown"
    COOLING_FAILING = "CoolingFailing"
    COOLING_WARM = "CoolingWarm"
    CLOCKS_PARTIAL = "ClocksPartial"


class Condition(NamedTuple):
    """A condition that holds now; those that are not listed do not."""

    type: ConditionType
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDecision:
    """A domain, for status and metrics.

    Attributes:
        name: Domain.
        watts: Worst of the last samples; None while blind.
        age_seconds: Of the newest sample that was believed; None without one.
        coverage_ratio: Of the reading used; None when unknown.
        cap_watts: The lowest cap; None without.
        cap_source: What sets it.
        inlet_celsius: Worst of the last samples; None when unknown.
        band: The worst of power and temperature.
        price_ratio: What the router is to see.
        shed: What it refuses.
        allocated_watts: Of present and admitted replicas and all else; never above the cap while
            floors fit.
    """

    name: str
    watts: float | None
    age_seconds: float | None
    coverage_ratio: float | None
    cap_watts: float | None
    cap_source: str
    inlet_celsius: float | None
    band: Band
    price_ratio: float
    shed: ShedLevel
    allocated_watts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDecision:
    """A target, for status, metrics and the external scaler.

    Attributes:
        ref: Target.
        current_replicas: Race-free; None when unknown.
        bound: Replicas that are allowed now, ramps applied; None: no bound is known or needed.
        goal: Where the ramps lead to.
        floor: Never fewer.
        original_max: What is restored.
        replica_watts: Power of one more replica, as used; None when unknown.
        clock_hertz: Lock that is to be in force, None for none.
        limit_watts: Power limit of a replica that is to be in force, None for none.
        band: The worst of the domains that it touches.
        why: Reason of the bound.
    """

    ref: str
    current_replicas: int | None
    bound: int | None
    goal: int | None
    floor: int
    original_max: int | None
    replica_watts: float | None
    clock_hertz: float | None
    band: Band
    why: Why
    limit_watts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The result of one turn.

    Attributes:
        actions: To carry out now, in this order; only in Enforce.
        recommended: The same in Recommend; empty in the other modes.
        holds: What is left alone, and why.
        conditions: That hold now.
        domains: In the policy's order.
        targets: In the policy's order.
        explanation: One sentence on the whole.
        state: For the next turn. It does not hold the actions as done: the shell reports each that
            was carried out with `capper.decide.memory.applied`.
    """

    actions: tuple[Action, ...]
    recommended: tuple[Action, ...]
    holds: tuple[Hold, ...]
    conditions: tuple[Condition, ...]
    domains: tuple[DomainDecision, ...]
    targets: tuple[TargetDecision, ...]
    explanation: str
    state: State
