"""Running totals and rates from counters that restart, are replaced, or are read twice.

Each source's view of a counter is tracked on its own: two views taken at different times, mixed,
would look like a counter that jumps back and forth. One source leads a counter and is published;
another takes over when the leader falls behind, without a step in the total.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from fleet.signals import COUNTERS, Signal, SignalKind
from telemetry.kinds import GROWTH_LIMITS_PER_SECOND
from telemetry.reading import Reading, RejectionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RateWindow:
    """Over what a rate is taken, and when another source takes a counter over.

    Attributes:
        min_seconds: A rate spans at least this. Shorter, it shows the sampling rather than the
            load: DCGM renews its energy counter a few times a second.
        max_seconds: A longer gap between samples gives no rate: its mean would speak of the past.
        spacing_seconds: Samples closer than this to the previous one are the same sample. The age
            of a Prometheus answer is known to within its round trip only.
        takeover_seconds: A source leads a counter until another's view is newer by this much.
    """

    min_seconds: float = 2.0
    max_seconds: float = 120.0
    spacing_seconds: float = 0.1
    takeover_seconds: float = 5.0


class Track(Struct, frozen=True, gc=False):
    """What one source has shown of one counter.

    Attributes:
        value: Last raw value.
        observed_seconds: When it was measured (monotonic).
        origin: Identity of its parts.
        total: Growth seen so far on top of the first value; never shrinks.
        window_total: `total` where the present window began.
        window_seconds: Monotonic time at which it began.
        rate: Growth per second over the last complete window; None before the first.
        rate_observed_seconds: End of that window.
        break_reason: Why the last sample started the counter anew, when it did.
    """

    value: float
    observed_seconds: float
    origin: tuple[str, ...]
    total: float
    window_total: float
    window_seconds: float
    rate: float | None = None
    rate_observed_seconds: float = 0.0
    break_reason: RejectionReason | None = None


def begin(reading: Reading) -> Track:
    """The track of a first sample: a total, no rate."""
    value, observed = reading.value, reading.observed_seconds
    return Track(value, observed, reading.origin, value, value, observed)


def advance(track: Track, reading: Reading, window: RateWindow) -> Track:
    """The track after one more sample.

    A smaller value, other parts, or growth faster than physics allows is another counter: its
    window is skipped, the total stays, the last rate stays with its own age. What was counted
    between the last sample and the restart is lost, which is less wrong than guessing it. A sample
    that is not newer changes nothing.
    """
    elapsed_seconds = reading.observed_seconds - track.observed_seconds
    if elapsed_seconds < window.spacing_seconds:
        return track if track.break_reason is None else replace(track, break_reason=None)
    reason = _break(track, reading, elapsed_seconds)
    if reason is not None:
        return _restart(track, reading, track.total, reason)
    total = track.total + (reading.value - track.value)
    span_seconds = reading.observed_seconds - track.window_seconds
    if span_seconds > window.max_seconds:
        return _restart(track, reading, total, None)
    # Both built whole: replacing costs several times as much, for every counter of every replica.
    if span_seconds < window.min_seconds:
        return Track(
            reading.value,
            reading.observed_seconds,
            track.origin,
            total,
            track.window_total,
            track.window_seconds,
            track.rate,
            track.rate_observed_seconds,
        )
    return Track(
        reading.value,
        reading.observed_seconds,
        track.origin,
        total,
        window_total=total,
        window_seconds=reading.observed_seconds,
        rate=(total - track.window_total) / span_seconds,
        rate_observed_seconds=reading.observed_seconds,
    )


def _break(track: Track, reading: Reading, elapsed_seconds: float) -> RejectionReason | None:
    if reading.origin != track.origin or reading.value < track.value:
        return RejectionReason.RESET
    limit = GROWTH_LIMITS_PER_SECOND.get(reading.kind)
    # At least a second: exporters hand out a second's growth at once.
    if limit is not None and reading.value - track.value > limit * max(elapsed_seconds, 1.0):
        return RejectionReason.JUMP
    return None


def _restart(track: Track, reading: Reading, total: float, reason: RejectionReason | None) -> Track:
    return Track(
        value=reading.value,
        observed_seconds=reading.observed_seconds,
        origin=reading.origin,
        total=total,
        window_total=total,
        window_seconds=reading.observed_seconds,
        rate=track.rate,
        rate_observed_seconds=track.rate_observed_seconds,
        break_reason=reason,
    )


class _Lead(Struct, frozen=True, gc=False):
    """Who is published for a counter.

    The published total grows by the leader's growth instead of being computed from an offset: that
    rounds, and a total must not shrink by a rounding error either, or readers take it for a reset.

    Attributes:
        source: The leader.
        total: Published so far.
        counted: The leader's own total that is already in it.
    """

    source: str
    total: float
    counted: float


class Recorded(NamedTuple):
    """What one sample of a counter changes.

    Attributes:
        signals: To publish: the total and, once there is one, the rate. Empty when another source
            leads.
        break_reason: Why the counter was started anew, when it was.
    """

    signals: tuple[tuple[SignalKind, Signal], ...]
    break_reason: RejectionReason | None


class CounterBook:
    """All counters of all replicas from all sources. Mutable, without I/O or clock."""

    def __init__(self, window: RateWindow) -> None:
        """Start empty."""
        self._window = window
        self._tracks: dict[tuple[str, str, SignalKind], Track] = {}
        self._leads: dict[tuple[str, SignalKind], _Lead] = {}

    def record(self, source: str, reading: Reading) -> Recorded:
        """Take one sample in; `reading.kind` must be a counter."""
        key = (source, reading.address, reading.kind)
        known = self._tracks.get(key)
        track = begin(reading) if known is None else advance(known, reading, self._window)
        self._tracks[key] = track
        lead = self._lead(source, reading, track)
        if lead.source != source:
            return Recorded((), track.break_reason)
        signals = [(reading.kind, Signal(lead.total, track.observed_seconds))]
        rate_kind = COUNTERS[reading.kind]
        if rate_kind is not None and track.rate is not None:
            signals.append((rate_kind, Signal(track.rate, track.rate_observed_seconds)))
        return Recorded(tuple(signals), track.break_reason)

    def forget(self, addresses: Collection[str]) -> None:
        """Drop everything known of `addresses`."""
        for key in [key for key in self._tracks if key[1] in addresses]:
            del self._tracks[key]
        for pair in [pair for pair in self._leads if pair[0] in addresses]:
            del self._leads[pair]

    def _lead(self, source: str, reading: Reading, track: Track) -> _Lead:
        """Who leads after this sample; the challenger only once the leader has fallen behind."""
        pair = (reading.address, reading.kind)
        lead = self._leads.get(pair)
        if lead is None:
            lead = _Lead(source, track.total, track.total)
        elif lead.source == source:
            if track.total == lead.counted:
                return lead
            lead = _Lead(source, lead.total + (track.total - lead.counted), track.total)
        else:
            leading = self._tracks[lead.source, *pair]
            lag_seconds = track.observed_seconds - leading.observed_seconds
            if lag_seconds > self._window.takeover_seconds:
                lead = _Lead(source, lead.total, track.total)
        self._leads[pair] = lead
        return lead
