"""The state as JSON values for a status field, and back; damaged parts are dropped, not raised."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, TypeVar

from capper.decide.state import (
    OPEN,
    DomainState,
    Latch,
    Latches,
    Reservation,
    State,
    TargetState,
)

_Record = TypeVar("_Record", DomainState, TargetState, Reservation)
_LATCHES = 3


def to_document(state: State) -> dict[str, Any]:
    """JSON values; what has its default is left out."""
    return {
        "domains": {name: _record(one) for name, one in state.domains.items()},
        "targets": {name: _record(one) for name, one in state.targets.items()},
        "reservations": {name: _record(one) for name, one in state.reservations.items()},
    }


def from_document(document: object) -> State:
    """The state of a document; an empty one for anything else."""
    if not isinstance(document, Mapping):
        return State()
    return State(
        domains=_records(DomainState, document.get("domains")),
        targets=_records(TargetState, document.get("targets")),
        reservations=_records(Reservation, document.get("reservations")),
    )


def no_later_than(state: State, now_seconds: float, *, freeze_seconds: float) -> State:
    """Times in the future are pulled back to now: the clock was stepped, and waits must end."""
    return replace(
        state,
        domains={name: _pulled(one, now_seconds) for name, one in state.domains.items()},
        targets={
            name: _thawing(_pulled(one, now_seconds), now_seconds + freeze_seconds)
            for name, one in state.targets.items()
        },
    )


def _thawing(target: TargetState, latest_seconds: float) -> TargetState:
    until = target.frozen_until_seconds
    if until is None or until <= latest_seconds:
        return target
    return replace(target, frozen_until_seconds=latest_seconds)


def _pulled(record: _Record, now_seconds: float) -> _Record:
    changed: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, float) and field.name.endswith("_seconds") and value > now_seconds:
            if field.name != "frozen_until_seconds":
                changed[field.name] = now_seconds
        elif field.type is Latches:
            changed[field.name] = tuple(_pulled_latch(latch, now_seconds) for latch in value)
        elif isinstance(value, tuple):
            changed[field.name] = tuple(min(time, now_seconds) for time in value)
    return replace(record, **changed) if changed else record


def _pulled_latch(latch: Latch, now_seconds: float) -> Latch:
    since, below = latch.since_seconds, latch.below_since_seconds
    return Latch(
        None if since is None else min(since, now_seconds),
        None if below is None else min(below, now_seconds),
        latch.below_samples,
    )


def _record(record: DomainState | TargetState | Reservation) -> dict[str, Any]:
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.default is MISSING or value != field.default:
            found[field.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Latch):
        return [value.since_seconds, value.below_since_seconds, value.below_samples]
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _records(kind: type[_Record], document: object) -> dict[str, _Record]:
    if not isinstance(document, Mapping):
        return {}
    found = {}
    for name, values in document.items():
        record = _read(kind, values) if isinstance(name, str) else None
        if record is not None:
            found[name] = record
    return found


def _read(kind: type[_Record], values: object) -> _Record | None:
    if not isinstance(values, Mapping):
        return None
    known: dict[str, Any] = {}
    for field in fields(kind):
        try:
            known[field.name] = _value(field, values[field.name])
        except (KeyError, TypeError, ValueError, OverflowError):
            if field.default is MISSING:
                return None
    return kind(**known)


def _value(field: Field[Any], value: Any) -> Any:
    if value is None:
        if field.default is not None:
            raise ValueError(field.name)
        return None
    return _READERS[field.type](value)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, str | bool) or not math.isfinite(number):
        raise ValueError(value)
    return number


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _latches(value: Any) -> Latches:
    if len(value) != _LATCHES:
        raise ValueError(value)
    first, second, third = (_latch(one) for one in value)
    return first, second, third


def _latch(value: Any) -> Latch:
    since, below, samples = value
    return Latch(
        None if since is None else _number(since),
        None if below is None else _number(below),
        _count(samples),
    )


_READERS: dict[Any, Callable[[Any], Any]] = {
    float: _number,
    float | None: _number,
    int: _count,
    int | None: _count,
    bool: _flag,
    str: _text,
    tuple[float, ...]: lambda value: tuple(_number(one) for one in value),
    type(OPEN): _latches,
    Latches: _latches,
}
