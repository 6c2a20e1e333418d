"""From decisions to actions: only what differs from what is in force, the gentlest rung first."""

from collections.abc import Iterable

from capper.decide.ladder import Outcome
from capper.decide.plan import (
    Action,
    Brake,
    Hold,
    PauseScaleOut,
    ReleaseClock,
    ReleasePowerLimit,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
    SetPowerLimit,
    SetPrice,
    SetShed,
    ShedLevel,
    Why,
)
from capper.decide.sight import Sight
from capper.decide.workload import Workload

_PRICE_STEP = 1e-6
_ROUNDING_HERTZ = 1.0
_ROUNDING_WATTS = 1e-6


def price_action(leaf: Sight, ratio: float, *, worst: Sight) -> list[Action]:
    """A new price, when it differs from the one in force."""
    if abs(ratio - leaf.memory.price_ratio) < _PRICE_STEP:
        return []
    sentence = "back to neutral" if ratio == 1.0 else f"{worst.policy.name} is at its limit's edge"
    if worst.ratio is not None and ratio != 1.0:
        sentence = f"{worst.policy.name} is at {worst.ratio:.0%} of its limit"
    figures = () if worst.ratio is None else (("ratio", worst.ratio),)
    return [SetPrice(leaf.policy.name, ratio, Why(sentence=sentence, figures=figures))]


def clock_action(outcome: Outcome) -> list[Action]:
    """A new lock, or none any more."""
    held, wanted = outcome.workload.clock_hertz, outcome.clock_hertz
    ref = outcome.workload.ref
    if wanted is None:
        why = Why(sentence="the watts fit at full clocks")
        return [] if held is None else [ReleaseClock(ref, why)]
    if held is not None and abs(wanted - held) < _ROUNDING_HERTZ:
        return []
    direction = "lower" if held is None or wanted < held else "higher"
    sentence = f"clocks {direction}, to {wanted / 1e6:.0f} MHz: what the watts over the limit need"
    return [SetClock(ref, wanted, Why(sentence=sentence, figures=(("hertz", wanted),)))]


def limit_action(outcome: Outcome) -> list[Action]:
    """A new power limit, or none any more."""
    held, wanted = outcome.memory.limit_watts, outcome.limit_watts
    ref = outcome.workload.ref
    if wanted is None:
        why = Why(sentence="all boards at their highest fit under the caps")
        return [] if held is None else [ReleasePowerLimit(ref, why)]
    if held is not None and abs(wanted - held) < _ROUNDING_WATTS:
        return []
    direction = "lower" if held is None or wanted < held else "higher"
    sentence = f"power limit {direction}, {wanted:.0f} W a replica: so all limits keep the caps"
    figures = (("watts", wanted), ("replicas", float(outcome.workload.current or 0)))
    return [SetPowerLimit(ref, wanted, Why(sentence=sentence, figures=figures))]


def bound_actions(outcome: Outcome, why: Why) -> list[Action]:
    """What brings the object to the bound: nothing, one field, or the pause annotation."""
    one, step = outcome.workload, outcome.step
    if step is None:
        return []
    bound, current = step.bound, one.current or 0
    if one.can_pause and bound is not None and bound == current and outcome.kept >= current:
        return _pause(one, bound, why)
    resume: list[Action] = [ResumeScaleOut(one.ref, why)] if one.paused else []
    if one.paused and bound is not None and bound <= current:
        resume = []  # A cut of a paused target leaves it paused.
    written = one.field
    if one.memory.touched and (bound is None or bound == one.original):
        # Also where another writer has put back the same value: what we keep with the object goes.
        return [RestoreMaxReplicas(one.ref, one.original, why), *resume]
    if bound is None or bound == written:
        return resume
    return [SetMaxReplicas(one.ref, bound, written, why, current), *resume]


def shed_action(sight: Sight) -> list[Action]:
    """The brake, on, off or between."""
    before, level = sight.memory.shed_level, ShedLevel(sight.shed_level)
    if level == before:
        return []
    name, ratio = sight.policy.name, sight.ratio
    figures = () if ratio is None else (("ratio", ratio),)
    if level is ShedLevel.ALL:
        return [Brake(name, Why(sentence="far over its cap in spite of all else", figures=figures))]
    sentence = "calm again" if level < before else "over its cap for too long: sheddable work waits"
    return [SetShed(name, level, Why(sentence=sentence, figures=figures))]


def holds(outcomes: Iterable[Outcome]) -> tuple[Hold, ...]:
    """What is left alone, and why."""
    return tuple(
        Hold(outcome.workload.ref, Why(sentence=outcome.held_because))
        for outcome in outcomes
        if outcome.step is None
    )


def _pause(one: Workload, bound: int, why: Why) -> list[Action]:
    """A freeze without a number, where nothing stricter is in force."""
    held = one.in_force
    if one.paused or (held is not None and held <= bound):
        return []
    return [PauseScaleOut(one.ref, why)]
