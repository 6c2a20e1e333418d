"""What is taken up from before a restart, and what is put back when it is no longer asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from capper.actuators.bounds import original_max
from capper.actuators.workloads import Workload
from capper.decide.memory import restore_all
from capper.decide.plan import (
    Action,
    ReleaseClock,
    ReleasePowerLimit,
    RestoreMaxReplicas,
    SetMaxReplicas,
)
from capper.decide.policy import Mode, Policy, Rung
from capper.decide.state import State, TargetState
from capper.operator.enrolment import Look
from capper.operator.entry import Entry


class RestoreError(Exception):
    """Something could not be put back; to be tried again."""


def adopt(
    entry: Entry,
    workloads: Mapping[str, Workload],
    others: Iterable[Entry],
    *,
    now_seconds: float,
) -> None:
    """Make the memory agree with the objects: they tell what a killed process had just done.

    A bound that is ours and that the memory does not know was written right before the end; an
    original whose bound is not ours was only announced. Another configuration's work is left to it.
    """
    others = tuple(others)
    targets = dict(entry.state.targets)
    for ref, workload in workloads.items():
        memory = targets.get(ref, TargetState())
        if not entry.enforces and holder_of(ref, others) is not None:
            continue
        ours = is_ours(entry, ref, workload)
        if ours and not memory.touched:
            text = workload.kept or entry.originals.get(ref, "null")
            entry.originals[ref] = text
            memory = replace(
                memory,
                touched=True,
                original_max=original_max(text),
                written_max=workload.reading.max_replicas,
                written_seconds=now_seconds,
            )
        elif not ours and not memory.touched:
            entry.originals.pop(ref, None)
        elif not ours and workload.is_ours is None:
            entry.originals[ref] = workload.present  # somebody else's, from now on to put back
        if workload.pause_is_ours and not memory.paused:
            memory = replace(memory, paused=True)
        if memory != targets.get(ref, TargetState()):
            targets[ref] = memory
    entry.state = replace(entry.state, targets=targets)


def is_ours(entry: Entry, ref: str, workload: Workload) -> bool:
    """Whether the bound of a workload is of our writing.

    Where the object does not tell, it is when it differs from the original that was noted before
    it was written, and is what was written last.
    """
    if workload.is_ours is not None:
        return workload.is_ours
    memory, original = entry.state.targets.get(ref), entry.originals.get(ref)
    if original is None or workload.present == original:
        return False
    touched = memory is not None and memory.touched
    return not touched or memory is None or memory.written_max == workload.reading.max_replicas


def orphans_of(entry: Entry, policy: Policy) -> dict[str, TargetState]:
    """Memories of targets that hold something of ours and are not in the policy any more."""
    refs = {target.ref for target in policy.targets}
    return {
        ref: memory
        for ref, memory in entry.state.targets.items()
        if ref not in refs and memory.holds_anything
    }


def leftovers(entry: Entry, found: Look) -> tuple[Action, ...]:
    """What puts back that which this configuration holds and no longer asks for."""
    policy = found.policy
    if policy.mode is not Mode.ENFORCE:
        return restore_all(entry.state)
    orphans = orphans_of(entry, policy) if found.complete else {}
    actions = restore_all(State(targets=orphans))
    if Rung.REPLICAS not in policy.rungs:
        kept = {ref: one for ref, one in entry.state.targets.items() if ref not in orphans}
        bounds = restore_all(State(targets=kept))
        actions += tuple(
            one for one in bounds if not isinstance(one, ReleaseClock | ReleasePowerLimit)
        )
    return actions


def holder_of(ref: str, others: Iterable[Entry]) -> Entry | None:
    """Another configuration that enforces a cap on the same object."""
    for other in others:
        if other.enforces and ref in other.refs.values():
            return other
    return None


def hand_over(entry: Entry, ref: str, holder: Entry) -> None:
    """Leave what is in force on an object to another configuration that holds it, too."""
    memory = entry.state.targets.get(ref, TargetState())
    original = entry.originals.pop(ref, None)
    if original is not None:
        holder.originals.setdefault(ref, original)
    theirs = holder.state.targets.get(ref, TargetState())
    if memory.touched and not theirs.touched:
        theirs = replace(
            theirs,
            touched=True,
            original_max=memory.original_max,
            written_max=memory.written_max,
            written_seconds=memory.written_seconds,
        )
    theirs = replace(theirs, paused=theirs.paused or memory.paused)
    holder.state = replace(holder.state, targets={**holder.state.targets, ref: theirs})
    left = replace(memory, touched=False, original_max=None, written_max=None, paused=False)
    entry.state = replace(entry.state, targets={**entry.state.targets, ref: left})


def echo(action: Action, others: Iterable[Entry], *, now_seconds: float) -> None:
    """Let the other configurations of an object know: what one of them writes is no stranger's."""
    if not isinstance(action, SetMaxReplicas | RestoreMaxReplicas):
        return
    for other in others:
        memory = other.state.targets.get(action.target)
        if memory is None or not memory.touched or other.served is not None:
            continue
        if isinstance(action, SetMaxReplicas):
            memory = replace(memory, written_max=action.replicas, written_seconds=now_seconds)
        else:
            memory = replace(memory, touched=False, original_max=None, written_max=None)
            other.originals.pop(action.target, None)
        other.state = replace(other.state, targets={**other.state.targets, action.target: memory})
