"""What a source of telemetry returns, and the protocol it fulfils."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

from fleet.adapters import LoadedAdapters
from fleet.signals import SignalKind
from fleet.topology import Fleet


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One value of one signal of one replica. A struct for the reasons of Sample.

    Attributes:
        address: The replica.
        kind: What was measured; its name ends with the unit of `value`.
        value: Counters are raw here: as the engine or exporter counts, resets included.
        observed_seconds: Monotonic time of the measurement; of the oldest part of a sum.
        origin: Identity of the parts that were combined (boards, engines). A counter whose origin
            changes is another counter, whatever its value.
    """

    address: str
    kind: SignalKind
    value: float
    observed_seconds: float
    origin: tuple[str, ...] = ()


class FailureReason(StrEnum):
    """Why a target or a query gave nothing."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    CONNECTION = "connection"  # broken off, name not found, TLS
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"  # redirects are not followed
    TOO_LARGE = "too_large"
    NO_METRICS = "no_metrics"  # answered, but with none of the wanted families
    MALFORMED = "malformed"
    ERROR = "error"  # a bug in the source, caught by its supervisor


def status_reason(status: int) -> FailureReason:
    """What an HTTP status other than 200 means."""
    return _STATUS_REASONS.get(status // 100, FailureReason.HTTP_OTHER)


_STATUS_REASONS = {4: FailureReason.HTTP_4XX, 5: FailureReason.HTTP_5XX}


class RejectionReason(StrEnum):
    """Why a measured value was not used."""

    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    ABOVE_LIMIT = "above_limit"
    MALFORMED = "malformed"
    INCOMPLETE_BOARDS = "incomplete_boards"
    DISAGREE = "disagree"
    RESET = "reset"
    JUMP = "jump"


class Outcome(NamedTuple):
    """How asking one target went; reason None means it answered."""

    reason: FailureReason | None = None
    detail: str = ""


ANSWERED = Outcome()

Rejections = Mapping[tuple[SignalKind, RejectionReason], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """Everything one round of asking brought.

    Attributes:
        readings: At most one per replica and kind.
        outcomes: Target (replica address, exporter URL, or the query's kind) -> how it went.
        rejected: How many values were dropped, by kind and reason.
        adapters: Replica address -> LoRA adapters at work, of those that told.
        time_error_seconds: Two readings of one value whose times differ by less are one
            measurement that was told twice.
    """

    readings: tuple[Reading, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=lambda: MappingProxyType({}))
    rejected: Rejections = field(default_factory=lambda: MappingProxyType({}))
    adapters: Mapping[str, LoadedAdapters] = field(default_factory=lambda: MappingProxyType({}))
    time_error_seconds: float = 0.0


class Source(Protocol):
    """Somewhere readings come from. A broken target is an outcome, never an exception."""

    @property
    def name(self) -> str:
        """Short and unique among the sources of a process; a metric label."""
        ...

    async def collect(self, fleet: Fleet) -> SourceReport:
        """Ask every target once."""
        ...

    async def aclose(self) -> None:
        """Release connections and threads; the source is not used afterwards."""
        ...
