"""A sweep over clocks: which to try, what a window at one of them says, which is the best. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot

_LEAST_SPAN_RATIO = 0.5


class Verdict(StrEnum):
    """Whether a clock may be chosen."""

    KEPT = "kept"
    TPOT = "tpot"  # slower than the objective
    CAP = "cap"  # more watts than the cap
    NO_LOAD = "no_load"  # too few tokens to tell
    UNMEASURED = "unmeasured"  # tokens, energy or requests of a replica are unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a clock has to keep.

    Attributes:
        tpot_seconds: Most time per output token.
        cap_watts: Most watts at any time of the window; None: no cap.
        min_tokens: Fewer in a window say nothing.
        min_gain_ratio: A lock must save this part of the joules per token, or there is none.
    """

    tpot_seconds: float
    cap_watts: float | None = None
    min_tokens: float = 1000.0
    min_gain_ratio: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A window at one clock.

    Attributes:
        hertz: The clock.
        verdict: Whether it may be chosen.
        seconds: Length of the window.
        tokens: Output tokens in it; None: unknown.
        joules: Energy in it.
        tpot_seconds: Mean time per output token: running requests over tokens per second (Little).
        watts: Most that was drawn.
    """

    hertz: float
    verdict: Verdict
    seconds: float
    tokens: float | None = None
    joules: float | None = None
    tpot_seconds: float | None = None
    watts: float | None = None

    @property
    def tokens_per_joule(self) -> float | None:
        """Output tokens per joule; None where unknown."""
        return self.tokens / self.joules if self.tokens is not None and self.joules else None


def clocks_to_try(*, lowest_hertz: float, highest_hertz: float, step_hertz: float) -> list[float]:
    """From the highest to the lowest, both among them."""
    count = int((highest_hertz - lowest_hertz) / step_hertz + 1e-9)
    tried = [highest_hertz - number * step_hertz for number in range(count + 1)]
    return tried if tried[-1] <= lowest_hertz else [*tried, lowest_hertz]


def point_of(
    hertz: float, snapshots: Sequence[FleetSnapshot], addresses: Iterable[str], limits: Limits
) -> Point:
    """What a window says of its clock.

    Args:
        hertz: The clock.
        snapshots: Of the window, in order; the first and the last are its ends.
        addresses: Replicas of the backend.
        limits: What it has to keep.
    """
    there = tuple(addresses)
    first, last = snapshots[0], snapshots[-1]
    seconds = last.published_seconds - first.published_seconds
    tokens = grown(first, last, there, SignalKind.GENERATION_TOKENS_TOTAL)
    joules = grown(first, last, there, SignalKind.ENERGY_JOULES_TOTAL)
    running = sums(snapshots, there, SignalKind.RUNNING_REQUESTS)
    watts = max(sums(snapshots, there, SignalKind.POWER_WATTS), default=None)
    tpot = None
    if tokens and running:
        tpot = sum(running) / len(running) * seconds / tokens
    return Point(
        hertz=hertz,
        verdict=_verdict(tokens, joules, tpot, watts, limits),
        seconds=seconds,
        tokens=tokens,
        joules=joules,
        tpot_seconds=tpot,
        watts=watts,
    )


def best_of(points: Sequence[Point], limits: Limits) -> Point | None:
    """The clock of the most tokens per joule among those that may be chosen.

    None: the highest one, at which nothing is locked, is as good, or none may be chosen.
    """
    kept = [one for one in points if one.verdict is Verdict.KEPT and one.tokens_per_joule]
    best = max(kept, key=lambda one: (one.tokens_per_joule or 0.0, one.hertz), default=None)
    if best is None:
        return None
    full = max(points, key=lambda one: one.hertz)
    worth = full.tokens_per_joule
    # A full clock that is over the cap is no choice, however efficient.
    if full.verdict is not Verdict.CAP and worth is not None:
        gain = (best.tokens_per_joule or 0.0) * (1.0 - limits.min_gain_ratio)
        if best is full or gain <= worth:
            return None
    return best


def _verdict(
    tokens: float | None,
    joules: float | None,
    tpot: float | None,
    watts: float | None,
    limits: Limits,
) -> Verdict:
    if tokens is None or joules is None:
        return Verdict.UNMEASURED
    if tokens < limits.min_tokens or joules <= 0.0:
        return Verdict.NO_LOAD
    if tpot is None or (limits.cap_watts is not None and watts is None):
        return Verdict.UNMEASURED
    if limits.cap_watts is not None and watts is not None and watts > limits.cap_watts:
        return Verdict.CAP
    return Verdict.TPOT if tpot > limits.tpot_seconds else Verdict.KEPT


def grown(
    first: FleetSnapshot, last: FleetSnapshot, addresses: tuple[str, ...], kind: SignalKind
) -> float | None:
    """What a counter grew by in the window, of all replicas together.

    Counters are read at times of their own, some of them well apart: each counts by its own rate.
    None unless each replica tells it at both ends, and over most of the window.
    """
    seconds = last.published_seconds - first.published_seconds
    total = 0.0
    for address in addresses:
        before, after = first.signal(address, kind), last.signal(address, kind)
        if before is None or after is None:
            return None
        span = after.observed_seconds - before.observed_seconds
        if span <= 0.0 or span < _LEAST_SPAN_RATIO * seconds:
            return None
        total += (after.value - before.value) * seconds / span
    return total if addresses else None


def sums(
    snapshots: Sequence[FleetSnapshot], addresses: tuple[str, ...], kind: SignalKind
) -> list[float]:
    """The replicas' sum in each snapshot that has a reading of every one."""
    found = []
    for snapshot in snapshots:
        known = [snapshot.signal(address, kind) for address in addresses]
        values = [one.value for one in known if one is not None]
        if values and len(values) == len(addresses):
            found.append(sum(values))
    return found
