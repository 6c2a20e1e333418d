"""What a turn says in the status of its configuration. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from capper.actuators.workloads import Trouble, Workload
from capper.api.status import Condition, DomainStatus, SavedOriginal, Status, TargetStatus
from capper.carbon.looks import CarbonMemory, memory_document
from capper.decide.document import to_document
from capper.decide.plan import TargetDecision
from capper.decide.policy import Mode
from capper.decide.state import TargetState
from capper.operator.enrolment import Look
from capper.operator.entry import ORIGINAL_FIELD, Entry
from capper.operator.grid import carbon_status, cooling_status
from capper.operator.report import Outcome, TurnReport
from capper.operator.timestamps import rfc3339
from fleet.units import HERTZ_PER_MEGAHERTZ

_SENTENCE = 1024
_FLEETING = frozenset(
    {"sampleAgeSeconds", "state", "nextChangeTime", "lastTurnTime", "ageSeconds", "forecastUntil"}
    | {"setTime"}
)


def status_document(
    entry: Entry,
    found: Look,
    report: TurnReport,
    *,
    problems: Sequence[str] = (),
    now_seconds: float,
) -> dict[str, Any]:
    """The whole status after a turn, in the API's spelling.

    Args:
        entry: With the status before this one.
        found: The targets.
        report: The turn.
        problems: Sentences of queries that gave nothing.
        now_seconds: Epoch time.
    """
    plan = report.plan
    root = plan.domains[0] if plan.domains else None
    changes = [one.why.next_change_seconds for one in plan.targets]
    next_seconds = min((one for one in changes if one is not None), default=None)
    status = Status(
        observed_generation=entry.generation,
        observed_watts=None if root is None else root.watts,
        coverage_ratio=None if root is None else root.coverage_ratio,
        sample_age_seconds=None if root is None else root.age_seconds,
        effective_cap_watts=None if root is None else root.cap_watts,
        cap_reason="" if root is None else root.cap_source,
        band="" if root is None else root.band.name.capitalize(),
        carbon_grams_per_kilowatt_hour=entry.carbon.grams_per_kilowatt_hour,
        emitted_grams=entry.carbon.emitted_grams,
        carbon=carbon_status(entry.carbon),
        cooling=cooling_status(entry.cooling),
        racks=() if entry.racks is None else entry.racks.racks,
        smoothing=entry.advice.smoothing,
        vertical=entry.advice.vertical,
        last_turn_time=rfc3339(now_seconds),
        next_change_time=None if next_seconds is None else rfc3339(next_seconds),
        conditions=conditions(entry, _holding(entry, found, report, problems), now_seconds),
        targets=tuple(_target(one, entry, found, report) for one in plan.targets),
        domains=tuple(
            DomainStatus(
                name=one.name,
                observed_watts=one.watts,
                cap_watts=one.cap_watts,
                band=one.band.name.capitalize(),
                inlet_celsius=one.inlet_celsius,
                price=one.price_ratio,
            )
            for one in plan.domains
        ),
    )
    document = status.model_dump(by_alias=True, exclude_none=True)
    return {**document, "lastActions": list(entry.actions), **memory_of(entry)}


def memory_of(entry: Entry) -> dict[str, Any]:
    """What a restart needs."""
    originals = [
        SavedOriginal(target=ref, field=ORIGINAL_FIELD, value=value).model_dump(by_alias=True)
        for ref, value in sorted(entry.originals.items())
    ]
    memory = to_document(entry.state)
    if entry.carbon.memory != CarbonMemory():
        memory["carbon"] = memory_document(entry.carbon.memory)
    state = json.dumps(memory, separators=(",", ":"))
    return {"originals": originals, "state": state}


def refused_document(entry: Entry, now_seconds: float) -> dict[str, Any]:
    """The status before it, with what is wrong with the newest configuration."""
    held = {"Ready": (False, "Invalid", " ".join(entry.problems))}
    kept = {one.type: one for one in conditions(entry, held, now_seconds)}
    before = [one for one in _before(entry).values() if one.type not in kept]
    listed = [one.model_dump(by_alias=True, exclude_none=True) for one in (*before, *kept.values())]
    return {**entry.status, "observedGeneration": entry.generation, "conditions": listed}


def conditions(
    entry: Entry, held: Mapping[str, tuple[bool, str, str]], now_seconds: float
) -> tuple[Condition, ...]:
    """Conditions with the time of their last change; one that is not held any more is False."""
    before = _before(entry)
    gone = {kind: (False, "Over", "") for kind in before if kind not in held and kind != "Ready"}
    found = []
    for kind, (holds, reason, message) in sorted({**gone, **held}.items()):
        status = "True" if holds else "False"
        last = before.get(kind)
        changed = last is None or last.status != status
        time = rfc3339(now_seconds) if changed or last is None else last.last_transition_time
        found.append(
            Condition(
                type=kind,
                status="True" if holds else "False",
                reason=reason,
                message=message[:_SENTENCE],
                last_transition_time=time,
                observed_generation=entry.generation,
            )
        )
    return tuple(found)


def digest(document: Mapping[str, Any]) -> str:
    """What makes a status worth writing at once: figures to two digits, no ages, no clocks."""
    return json.dumps(_coarse(document), sort_keys=True)


def _coarse(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.2g}")
    if isinstance(value, Mapping):
        is_condition = "lastTransitionTime" in value
        return {
            key: _coarse(one)
            for key, one in value.items()
            if key not in _FLEETING and not (is_condition and key == "message")
        }
    return [_coarse(one) for one in value] if isinstance(value, list | tuple) else value


def _before(entry: Entry) -> dict[str, Condition]:
    found = {}
    for one in entry.status.get("conditions") or ():
        try:
            condition = Condition.model_validate(one)
        except ValueError:
            continue
        found[condition.type] = condition
    return found


def _holding(
    entry: Entry, found: Look, report: TurnReport, problems: Sequence[str]
) -> dict[str, tuple[bool, str, str]]:
    """Type -> (holds, reason, sentence)."""
    policy, spec = report.policy, entry.config.spec
    held: dict[str, tuple[bool, str, str]] = {}
    for kind in dict.fromkeys(one.type for one in report.plan.conditions):
        told = [one.message for one in report.plan.conditions if one.type is kind]
        held[kind.value] = (True, kind.value, "; ".join(told) + ".")
    conflicts = [result.sentence for result in report.results if result.trouble is Trouble.CONFLICT]
    if conflicts:
        held["FieldConflict"] = (True, "FieldConflict", " ".join(dict.fromkeys(conflicts)))
    if spec.scaled_object_refs:
        sentence = "scaledObjectRefs is an old spelling: use scaleObjectRef."
        held["Deprecated"] = (True, "OldSpelling", sentence)
    if problems:
        held["MetricsValid"] = (False, "QueryFailed", " ".join(problems))
    elif "MetricsValid" in _before(entry):
        held["MetricsValid"] = (True, "QueriesAnswered", "")
    held |= {} if entry.racks is None else entry.racks.conditions
    held |= entry.advice.conditions
    enforcing = policy.mode is Mode.ENFORCE
    held["Enforcing"] = (enforcing, policy.mode.value, report.plan.explanation + ".")
    held["Ready"] = _ready(entry, found, report)
    return held


def _ready(entry: Entry, found: Look, report: TurnReport) -> tuple[bool, str, str]:
    if entry.problems:
        sentence = f"{' '.join(entry.problems)} The last valid spec stays in force."
        return (False, "Invalid", sentence)
    if found.absent:
        return (False, "TargetNotFound", " ".join(found.absent))
    if found.lost:
        return (False, "TargetUnreadable", " ".join(found.lost))
    failed = [one.sentence for one in report.results if one.outcome is Outcome.FAILED]
    if failed:
        return (False, "ActionFailed", " ".join(dict.fromkeys(failed)))
    return (True, "Ready", f"{len(found.policy.targets)} targets.")


def _target(
    decision: TargetDecision, entry: Entry, found: Look, report: TurnReport
) -> TargetStatus:
    ref = decision.ref
    told = None if entry.served is None else entry.served.told.get(ref)
    held = report.state.targets.get(ref, TargetState())
    hertz = held.clock_hertz
    backends = {one.ref: one.backend for one in found.policy.targets}
    reading = report.observation.targets.get(ref)
    workload: Workload | None = found.workloads.get(ref)
    bound = decision.bound
    if bound is None:
        word = "Unbounded" if workload is not None else "Unknown"
    else:
        word = f"At most {bound}"
    return TargetStatus(
        ref=found.named[ref],
        actuation_target=ref,
        observed_watts=None if reading is None else _finite(reading.watts),
        tokens_per_joule=None if reading is None else _finite(reading.tokens_per_joule),
        current_replicas=decision.current_replicas,
        max_replicas=bound,
        original_max_replicas=decision.original_max,
        allowed_replicas=None if told is None else told.replicas,
        backend=backends.get(ref) or "",
        clock_mega_hertz=None if hertz is None else hertz / HERTZ_PER_MEGAHERTZ,
        limit_watts_per_replica=held.limit_watts,
        band=decision.band.name.capitalize(),
        decision=word,
        reason=decision.why.sentence[:_SENTENCE],
    )


def _finite(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity, and a raw reading may be either."""
    return value if value is not None and math.isfinite(value) else None
