"""The loop's memory: what was done, what other writers did, what is set aside."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from capper.decide.observation import TargetReading
from capper.decide.plan import (
    Action,
    Brake,
    EvictReplica,
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
from capper.decide.state import DomainState, Reservation, State, TargetState
from capper.decide.tuning import Pacing

_Value = TypeVar("_Value")
_NEVER = -1e300


def applied(
    state: State, action: Action, *, now_seconds: float, pacing: Pacing | None = None
) -> State:
    """The state after an action was carried out; to be called for nothing else."""
    pacing = pacing or Pacing()
    if isinstance(action, SetPrice | SetShed | Brake):
        domain = state.domains.get(action.domain, DomainState())
        domain = _done_to_domain(domain, action, now_seconds)
        return replace(state, domains=_with(state.domains, action.domain, domain))
    target = state.targets.get(action.target, TargetState())
    target = _done_to_target(target, action, now_seconds, pacing)
    return replace(state, targets=_with(state.targets, action.target, target))


def note_writers(
    memory: TargetState, reading: TargetReading | None, pacing: Pacing, *, now_seconds: float
) -> TargetState:
    """Notice that another writer changed the bound since ours had time to show.

    Its value becomes the one to restore. Raising ours counts as a revert; lowering it does not:
    that is a tighter wish. After half an hour without a new one reverts are forgotten, so that a
    fight that was given up is tried again without a hand, once.
    """
    last = memory.reverted_seconds or _NEVER
    if memory.reverts and now_seconds - last >= pacing.oscillation_freeze_seconds:
        memory = replace(memory, reverts=0, reverted_seconds=None)
    written, found = memory.written_max, None if reading is None else reading.max_replicas
    if reading is None or not memory.touched or written is None or found == written:
        return memory
    shown_seconds = now_seconds - reading.age_seconds - (memory.written_seconds or 0.0)
    if not shown_seconds >= pacing.settle_seconds:
        return memory
    memory = replace(memory, original_max=found, written_max=None)
    if found is not None and found < written:
        return memory
    return replace(memory, reverts=memory.reverts + 1, reverted_seconds=now_seconds)


def reserve(state: State, key: str, reservation: Reservation) -> State:
    """Set watts aside for what is coming, in place of what `key` held before."""
    return replace(state, reservations=_with(state.reservations, key, reservation))


def release(state: State, key: str) -> State:
    """Let go what `key` holds."""
    kept = {name: held for name, held in state.reservations.items() if name != key}
    return replace(state, reservations=kept)


def put_back(ref: str, target: TargetState, sentence: str) -> list[Action]:
    """What undoes all that was done to one target."""
    why = Why(sentence=sentence)
    actions: list[Action] = []
    if target.clock_hertz is not None:
        actions.append(ReleaseClock(ref, why))
    if target.limit_watts is not None:
        actions.append(ReleasePowerLimit(ref, why))
    if target.touched:
        actions.append(RestoreMaxReplicas(ref, target.original_max, why))
    if target.paused:
        actions.append(ResumeScaleOut(ref, why))
    return actions


def restore_all(state: State) -> tuple[Action, ...]:
    """Everything that puts back what the capper changed: for finalizers, and when Enforce ends."""
    sentence = "the configuration ends: what was before is put back"
    why = Why(sentence=sentence)
    actions: list[Action] = []
    for ref, target in state.targets.items():
        actions += put_back(ref, target, sentence)
    for name, domain in state.domains.items():
        if domain.shed_level:
            actions.append(SetShed(name, ShedLevel.NOTHING, why))
        if domain.price_ratio != 1.0:
            actions.append(SetPrice(name, 1.0, why))
    return tuple(actions)


def _done_to_domain(
    domain: DomainState, action: SetPrice | SetShed | Brake, now_seconds: float
) -> DomainState:
    match action:
        case SetPrice():
            return replace(domain, price_ratio=action.ratio, price_seconds=now_seconds)
        case SetShed():
            return replace(domain, shed_level=int(action.level))
        case Brake():
            return replace(domain, shed_level=int(ShedLevel.ALL))


def _done_to_target(
    target: TargetState, action: Action, now_seconds: float, pacing: Pacing
) -> TargetState:
    if isinstance(action, SetClock | ReleaseClock):
        hertz = action.hertz if isinstance(action, SetClock) else None
        return replace(target, clock_hertz=hertz, clock_seconds=now_seconds)
    if isinstance(action, SetPowerLimit | ReleasePowerLimit):
        limit_watts = action.watts if isinstance(action, SetPowerLimit) else None
        return replace(target, limit_watts=limit_watts, limit_seconds=now_seconds)
    if isinstance(action, SetMaxReplicas):
        return _wrote_max(target, action, now_seconds, pacing)
    if isinstance(action, EvictReplica):
        return replace(target, shed_seconds=now_seconds)
    up = isinstance(action, RestoreMaxReplicas | ResumeScaleOut)
    target = _turned(target, 1 if up else -1, now_seconds, pacing)
    if isinstance(action, RestoreMaxReplicas):
        return replace(
            target, touched=False, original_max=None, written_max=None, written_current=None
        )
    return replace(target, paused=isinstance(action, PauseScaleOut))


def _wrote_max(
    target: TargetState, action: SetMaxReplicas, now_seconds: float, pacing: Pacing
) -> TargetState:
    before = action.previous_replicas
    up = before is not None and action.replicas > before
    original = target.original_max if target.touched else before
    current, then = action.current_replicas, target.written_current
    # A bound that only goes along with the replicas is the autoscaler's turn, not the capper's.
    follows = then is not None and (current > then if up else current < then)
    if follows:
        target = _moved(target, up, now_seconds)
    else:
        target = _turned(target, 1 if up else -1, now_seconds, pacing)
    if action.replicas < current:
        target = replace(target, shed_seconds=now_seconds)
    return replace(
        target,
        touched=True,
        original_max=original,
        written_max=action.replicas,
        written_current=current,
    )


def _moved(target: TargetState, up: bool, now_seconds: float) -> TargetState:
    grown_seconds = now_seconds if up else target.grown_seconds
    return replace(target, written_seconds=now_seconds, grown_seconds=grown_seconds)


def _turned(target: TargetState, direction: int, now_seconds: float, pacing: Pacing) -> TargetState:
    """Note a change of the bound; too many changes of direction shut the way up for a while."""
    start = now_seconds - pacing.oscillation_window_seconds
    turns = tuple(turn for turn in target.turned_seconds if turn > start)
    if target.direction == -direction:
        turns = (*turns, now_seconds)
    frozen = target.frozen_until_seconds
    if len(turns) > pacing.max_direction_changes:
        frozen, turns = now_seconds + pacing.oscillation_freeze_seconds, ()
    return replace(
        _moved(target, direction > 0, now_seconds),
        direction=direction,
        turned_seconds=turns,
        frozen_until_seconds=frozen,
    )


def _with(mapping: Mapping[str, _Value], key: str, value: _Value) -> dict[str, _Value]:
    return {**mapping, key: value}
