"""Profiles learn: a correction of step time and of dynamic power per backend, from telemetry.

Step time is fitted by `router.decide.step_fit`. Power is observed over predicted, averaged in log
scale and bounded, kept per doubling of the batch; batches that were never seen take after their
nearest neighbours. Per backend and not per replica: boards read up to 5 % off (arXiv 2312.02741),
which the mean over replicas softens, and replicas that are alike stay interchangeable to the
decision.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from fleet.batch_ratios import POINTS, BatchRatios, nearest_point
from fleet.profile import Profile
from fleet.signals import FreshnessPolicy, Signal, SignalKind
from fleet.snapshot import FleetSnapshot, Signals
from fleet.topology import Backend
from router.decide.step_fit import StepFit

# Beyond these a reading says more about the telemetry than about the board.
_MIN_GAIN = 0.25
_MAX_GAIN = 4.0
_WINDOW_SECONDS = 60.0
# The prior counts as this much watching, so that first samples do not jerk the profile.
_PRIOR_SECONDS = 10.0
# What is learned at one doubling of the batch counts this much at the next, and so on outwards.
_NEIGHBOUR_SHARE = 0.3
# Below this batch a scrape's count says little about the mean over the interval.
_MIN_BATCH = 2.0
# A batch that moved by more than this between two scrapes was not an operating point.
_MAX_BATCH_CHANGE_RATIO = 0.5
# Time per prompt token is taken at this length: attention's share grows with it, but slowly.
_PROMPT_TOKENS = 1024.0
# Profiles only follow when a correction moves by this much, so that noise rebuilds nothing.
_VISIBLE_CHANGE_RATIO = 0.02
_REPLICAS_PER_STEP = 16


class _Sample(NamedTuple):
    """One busy interval of one replica, in shares of a second as its prior has them."""

    batch: float
    decode_share: float
    prompt_share: float
    power_ratio: float | None


class Corrections(NamedTuple):
    """What was learned of a backend.

    Attributes:
        time_ratios: Of decode time, by batch; empty when nothing was learned.
        prompt_ratio: Of prompt time.
        power_ratios: Of dynamic decode power, by batch; empty when nothing was learned.
    """

    time_ratios: BatchRatios = ()
    prompt_ratio: float = 1.0
    power_ratios: BatchRatios = ()

    def differs(self, other: "Corrections") -> bool:
        """Whether anything has moved enough to be worth a new profile."""
        return any(
            abs(a / b - 1.0) >= _VISIBLE_CHANGE_RATIO
            for a, b in zip(self.numbers(), other.numbers(), strict=True)
        )

    def numbers(self) -> tuple[float, ...]:
        """All ratios in one row, 1 where nothing was learned."""
        ones = (1.0,) * POINTS
        return (*(self.time_ratios or ones), self.prompt_ratio, *(self.power_ratios or ones))


class _Gains:
    """Log-means of observed ratios by batch, each with an exponential window."""

    __slots__ = ("_logs", "_seconds")

    def __init__(self) -> None:
        self._logs = [0.0] * POINTS
        self._seconds = [0.0] * POINTS

    def add(self, ratio: float, *, batch: float, seconds: float) -> None:
        point = nearest_point(batch)
        bounded = math.log(min(_MAX_GAIN, max(_MIN_GAIN, ratio)))
        self._seconds[point] = min(_WINDOW_SECONDS, self._seconds[point] + seconds)
        share = min(1.0, seconds / self._seconds[point])
        self._logs[point] += (bounded - self._logs[point]) * share

    def ratios(self) -> BatchRatios:
        """What is believed at each point; empty until anything was seen."""
        if not any(self._seconds):
            return ()
        return tuple(self._believed(point) for point in range(POINTS))

    def _believed(self, point: int) -> float:
        """The mean over all points, weighted by watching time and nearness, and the prior."""
        weights = [
            seconds * _NEIGHBOUR_SHARE ** abs(other - point)
            for other, seconds in enumerate(self._seconds)
        ]
        # The prior's weight shrinks with nearness too: far from anything seen, the nearest seen
        # gain is still a better guess than none.
        nearest = max(
            _NEIGHBOUR_SHARE ** abs(other - point)
            for other, seconds in enumerate(self._seconds)
            if seconds
        )
        total = sum(weight * log for weight, log in zip(weights, self._logs, strict=True))
        return math.exp(total / (sum(weights) + _PRIOR_SECONDS * nearest))


class Learner:
    """Corrections of all backends."""

    def __init__(self) -> None:
        """Start from the priors."""
        self._times: dict[str, StepFit] = {}
        self._powers: dict[str, _Gains] = {}
        self._profiles: dict[str, tuple[Profile, Corrections, Profile]] = {}
        self._last: dict[str, tuple[float, float]] = {}

    def observing(
        self, snapshot: FleetSnapshot, freshness: FreshnessPolicy, *, now_seconds: float
    ) -> Iterator[None]:
        """Compare every replica's new readings with what its prior predicts at that load."""
        for backend in snapshot.fleet.backends:
            for number, replica in enumerate(backend.replicas, start=1):
                if not number % _REPLICAS_PER_STEP:
                    yield
                signals = snapshot.of(replica.address)
                batch = freshness.fresh_value(
                    signals.get(SignalKind.RUNNING_REQUESTS), now_seconds=now_seconds
                )
                if batch is None:
                    continue
                observed_seconds = signals[SignalKind.RUNNING_REQUESTS].observed_seconds
                before = self._last.get(replica.address)
                if before is None or observed_seconds > before[0]:
                    self._last[replica.address] = (observed_seconds, batch)
                if before is None or observed_seconds <= before[0]:
                    continue
                elapsed = min(observed_seconds - before[0], _WINDOW_SECONDS)
                sample = _compare(backend.profile, signals, before[1], batch, before[0])
                if sample is not None:
                    self._add(backend.name, sample, seconds=elapsed)

    def profile(self, backend: Backend) -> Profile:
        """The backend's profile corrected; the same object until a correction moves visibly."""
        known = self._profiles.get(backend.name)
        corrections = self.corrections(backend.name)
        if known is None or known[0] is not backend.profile or corrections.differs(known[1]):
            learned = backend.profile.corrected(
                time_ratios=corrections.time_ratios,
                prompt_ratio=corrections.prompt_ratio,
                power_ratios=corrections.power_ratios,
            )
            known = self._profiles[backend.name] = (backend.profile, corrections, learned)
        return known[2]

    def corrections(self, backend: str) -> Corrections:
        """What is believed of a backend now."""
        times, powers = self._times.get(backend), self._powers.get(backend)
        time_ratios, prompt_ratio = times.ratios() if times else ((), 1.0)
        return Corrections(time_ratios, prompt_ratio, powers.ratios() if powers else ())

    def _add(self, backend: str, sample: _Sample, *, seconds: float) -> None:
        self._times.setdefault(backend, StepFit()).add(
            batch=sample.batch,
            decode_share=sample.decode_share,
            prompt_share=sample.prompt_share,
            seconds=seconds,
        )
        if sample.power_ratio is not None:
            self._powers.setdefault(backend, _Gains()).add(
                sample.power_ratio, batch=sample.batch, seconds=seconds
            )


def _compare(
    prior: Profile, signals: Signals, batch_before: float, batch_now: float, since_seconds: float
) -> _Sample | None:
    """What the prior predicts at the mean batch between two scrapes; None where it cannot say."""
    low, high = sorted((batch_before, batch_now))
    if low < _MIN_BATCH or high - low > _MAX_BATCH_CHANGE_RATIO * low:
        return None
    batch = 0.5 * (low + high)
    written, computed = (
        _recent(signals.get(kind), since_seconds)
        for kind in (
            SignalKind.GENERATION_TOKENS_PER_SECOND,
            SignalKind.PROMPT_TOKENS_PER_SECOND,
        )
    )
    if written is None or computed is None or written <= 0.0:
        return None
    kv_tokens = _kv_tokens(prior, signals)
    steps_per_second = written / batch
    decode_share = prior.step.decode_seconds(batch, kv_tokens) * steps_per_second
    prefill_share = computed * prior.step.prompt_seconds(_PROMPT_TOKENS) / _PROMPT_TOKENS
    watts = _recent(signals.get(SignalKind.POWER_WATTS), since_seconds)
    power_ratio = _power_ratio(prior, watts, batch, prefill_share)
    return _Sample(batch, decode_share, prefill_share, power_ratio)


def _power_ratio(
    prior: Profile, watts: float | None, batch: float, prefill_share: float
) -> float | None:
    """Dynamic watts over the prior's mean of decoding and computing prompts."""
    power = prior.power
    if watts is None or watts <= power.idle_watts:
        return None
    prefill = min(prefill_share, 0.9)
    predicted = (1.0 - prefill) * power.decode_watts(batch) + prefill * power.prefill_watts
    return (watts - power.idle_watts) / (predicted - power.idle_watts)


def _recent(signal: Signal | None, since_seconds: float) -> float | None:
    return signal.value if signal is not None and signal.observed_seconds > since_seconds else None


def _kv_tokens(prior: Profile, signals: Signals) -> float:
    usage = signals.get(SignalKind.KV_USAGE_RATIO)
    capacity = signals.get(SignalKind.KV_CAPACITY_TOKENS)
    return (usage.value if usage else 0.0) * (
        capacity.value if capacity else prior.kv_capacity_tokens
    )
