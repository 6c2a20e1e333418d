"""From the workloads that a configuration names or selects to the objects that are written."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from capper.actuators.workloads import Trouble, Workload, WorkloadError, Workloads
from capper.api.translate import policy_of, target_of
from capper.decide.policy import Policy, TargetKind, TargetPolicy
from capper.operator.entry import Entry

_READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A configuration and its workloads, as found this turn.

    Attributes:
        policy: Its refs are those of the objects that are written, each once.
        workloads: By canonical ref; those that could be read.
        named: Canonical ref -> ref as the user wrote it.
        lost: One sentence for each target that could not be read.
        absent: The same for those that do not exist.
        complete: Whether all targets are known: only then is one that is missing an old one.
    """

    policy: Policy
    workloads: Mapping[str, Workload]
    named: Mapping[str, str]
    lost: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    complete: bool = True


async def look(entry: Entry, workloads: Workloads) -> Look:
    """Find and read all targets of a configuration; what cannot be read is said, never raised."""
    lost: list[str] = []
    selected = await _selected(entry, workloads, lost)
    complete = not lost
    policy = policy_of(entry.config, enrolled=selected, root_caps=entry.carbon.caps)
    gate = asyncio.Semaphore(_READS_AT_ONCE)
    found = await asyncio.gather(*(_read(gate, workloads, one.ref) for one in policy.targets))

    targets: dict[str, TargetPolicy] = {}
    read: dict[str, Workload] = {}
    named: dict[str, str] = {}
    absent: list[str] = []
    chosen = {one.ref for one in selected}
    # What is named counts before what is selected, when both lead to one object.
    pairs = sorted(zip(policy.targets, found, strict=True), key=lambda pair: pair[0].ref in chosen)
    for target, workload in pairs:
        if isinstance(workload, Workload):
            entry.refs[target.ref] = workload.written
        elif workload.trouble is Trouble.GONE:
            absent.append(str(workload))
            entry.refs.pop(target.ref, None)
        else:
            lost.append(str(workload))
            complete = complete and target.ref in entry.refs
        ref = entry.refs.get(target.ref)
        if ref is None or ref in targets:
            continue
        named[ref] = target.ref
        targets[ref] = replace(target, ref=ref, kind=TargetKind(ref.split("/")[0]))
        if isinstance(workload, Workload):
            read[ref] = workload
            targets[ref] = _known(targets[ref], workload, entry)
    return Look(
        policy=replace(policy, targets=tuple(targets.values())),
        workloads=read,
        named=named,
        lost=tuple(lost),
        absent=tuple(absent),
        complete=complete,
    )


def _known(target: TargetPolicy, workload: Workload, entry: Entry) -> TargetPolicy:
    prefers = entry.config.spec.replica_bounds.prefer_paused_scale_out
    return replace(
        target,
        backend=workload.backend or target.backend,
        prefers_pause=prefers and workload.supports_pause,
    )


async def _selected(
    entry: Entry, workloads: Workloads, lost: list[str]
) -> tuple[TargetPolicy, ...]:
    """What the selectors find. One that gets no answer keeps what it found last."""
    spec, namespace = entry.config.spec, entry.config.metadata.namespace
    for number, selector in enumerate(spec.target_selectors):
        try:
            refs = await workloads.select(selector.kind, namespace, selector.match_labels)
        except WorkloadError as error:
            lost.append(f"targetSelectors[{number}]: {error}")
            continue
        entry.selected[number] = tuple(
            target_of(
                selector,
                kind=selector.kind,
                name=ref.split("/")[2],
                namespace=namespace,
                spec=spec,
            )
            for ref in refs
        )
    count = len(spec.target_selectors)
    return tuple(
        target
        for number, targets in sorted(entry.selected.items())
        if number < count
        for target in targets
    )


async def _read(
    gate: asyncio.Semaphore, workloads: Workloads, ref: str
) -> Workload | WorkloadError:
    async with gate:
        try:
            return await workloads.read(ref)
        except WorkloadError as error:
            return error
