"""Profiles learn: one gain on time and one on dynamic power per backend, from telemetry.

A gain is observed over predicted, averaged in log scale and bounded. One gain per backend and not
per replica: boards read up to 5 % off (arXiv 2312.02741), which the mean over replicas softens,
and replicas that are alike stay interchangeable to the decision.
"""

import math
from typing import NamedTuple

from fleet.profile import Profile
from fleet.signals import FreshnessPolicy, Signal, SignalKind
from fleet.snapshot import FleetSnapshot, Signals
from fleet.topology import Backend

_MIN_GAIN = 0.5
_MAX_GAIN = 2.0
_WINDOW_SECONDS = 60.0
# Below this batch a scrape's count says little about the mean over the interval.
_MIN_BATCH = 2.0
# A batch that moved by more than this between two scrapes was not an operating point.
_MAX_BATCH_CHANGE_RATIO = 0.5
# Time per prompt token is taken at this length: attention's share grows with it, but slowly.
_PROMPT_TOKENS = 1024.0
# Gains only move profiles in steps of this size, so that groups are not rebuilt for noise.
_GAIN_STEP = 0.02


class _Sample(NamedTuple):
    time_ratio: float | None
    power_ratio: float | None


class _Gain:
    """Log-mean of observed ratios with an exponential window."""

    __slots__ = ("_log", "_published", "_weight_seconds")

    def __init__(self) -> None:
        self._log = 0.0
        self._weight_seconds = 0.0
        self._published = 1.0

    def add(self, ratio: float, *, seconds: float) -> None:
        bounded = math.log(min(_MAX_GAIN, max(_MIN_GAIN, ratio)))
        self._weight_seconds = min(_WINDOW_SECONDS, self._weight_seconds + seconds)
        # The prior counts as a quarter of a window, so first samples do not jerk the profile.
        share = seconds / (self._weight_seconds + 0.25 * _WINDOW_SECONDS)
        self._log += (bounded - self._log) * min(1.0, share)

    def ratio(self) -> float:
        value = math.exp(self._log)
        if abs(value / self._published - 1.0) >= _GAIN_STEP:
            self._published = value
        return self._published


class Learner:
    """Gains of all backends."""

    def __init__(self) -> None:
        """Start from the priors: every gain 1."""
        self._time: dict[str, _Gain] = {}
        self._power: dict[str, _Gain] = {}
        self._profiles: dict[str, tuple[Profile, float, float, Profile]] = {}
        self._last: dict[str, tuple[float, float]] = {}

    def observe(
        self, snapshot: FleetSnapshot, freshness: FreshnessPolicy, *, now_seconds: float
    ) -> None:
        """Compare every replica's new readings with what its prior predicts at that load."""
        for backend in snapshot.fleet.backends:
            for replica in backend.replicas:
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
                self._add(backend.name, sample, seconds=elapsed / len(backend.replicas))

    def profile(self, backend: Backend) -> Profile:
        """The backend's profile with its gains; the same object until a gain moves visibly."""
        time_ratio, power_ratio = self.gains(backend.name)
        known = self._profiles.get(backend.name)
        if known is None or known[:3] != (backend.profile, time_ratio, power_ratio):
            learned = backend.profile.scaled(time_ratio=time_ratio, power_ratio=power_ratio)
            known = (backend.profile, time_ratio, power_ratio, learned)
            self._profiles[backend.name] = known
        return known[3]

    def gains(self, backend: str) -> tuple[float, float]:
        """(time, dynamic power): observed over prior; 1 when nothing was learned."""
        time, power = self._time.get(backend), self._power.get(backend)
        return (time.ratio() if time else 1.0, power.ratio() if power else 1.0)

    def _add(self, backend: str, sample: _Sample, *, seconds: float) -> None:
        if sample.time_ratio is not None:
            self._time.setdefault(backend, _Gain()).add(sample.time_ratio, seconds=seconds)
        if sample.power_ratio is not None:
            self._power.setdefault(backend, _Gain()).add(sample.power_ratio, seconds=seconds)


def _compare(
    prior: Profile, signals: Signals, batch_before: float, batch_now: float, since_seconds: float
) -> _Sample:
    """Observed over predicted at the mean batch between two scrapes; None where it cannot say."""
    low, high = sorted((batch_before, batch_now))
    if low < _MIN_BATCH or high - low > _MAX_BATCH_CHANGE_RATIO * low:
        return _Sample(None, None)
    batch = 0.5 * (low + high)
    written, computed = (
        _recent(signals.get(kind), since_seconds)
        for kind in (
            SignalKind.GENERATION_TOKENS_PER_SECOND,
            SignalKind.PROMPT_TOKENS_PER_SECOND,
        )
    )
    if written is None or computed is None or written <= 0.0:
        return _Sample(None, None)
    kv_tokens = _kv_tokens(prior, signals)
    steps_per_second = written / batch
    decode_share = prior.step.decode_seconds(batch, kv_tokens) * steps_per_second
    prefill_share = computed * prior.step.prompt_seconds(_PROMPT_TOKENS) / _PROMPT_TOKENS
    # A busy engine spends every second in one or the other: predicted shares should sum to 1.
    time_ratio = 1.0 / (decode_share + prefill_share)
    watts = _recent(signals.get(SignalKind.POWER_WATTS), since_seconds)
    return _Sample(time_ratio, _power_ratio(prior, watts, batch, decode_share, prefill_share))


def _power_ratio(
    prior: Profile, watts: float | None, batch: float, decode_share: float, prefill_share: float
) -> float | None:
    power = prior.power
    if watts is None or watts <= power.idle_watts:
        return None
    prefill = prefill_share / (decode_share + prefill_share)
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
