"""A replica's operating curve: what each steady batch costs and carries, at one request mix.

Profiles corrected by batch have no closed form, so the curve is tabulated once a second and read
off many times.
"""

import math
from bisect import bisect_left
from itertools import accumulate

from fleet.physics import Mix, interference_swing_seconds, step_dynamic_joules, tpot_seconds
from fleet.profile import Profile

# Eighths of a doubling from a quarter of a request to 512: steps of 9 % in the batch.
_STEPS_PER_DOUBLING = 8
_BATCHES = tuple(
    math.pow(2.0, step / _STEPS_PER_DOUBLING)
    for step in range(-2 * _STEPS_PER_DOUBLING, 9 * _STEPS_PER_DOUBLING + 1)
)


class OperatingCurve:
    """Steady states of one replica.

    Attributes:
        profile: Of the replica.
        mix: Of the requests it serves.
    """

    __slots__ = ("_carried", "_rates", "_tpots", "mix", "profile")

    def __init__(self, profile: Profile, mix: Mix) -> None:
        """Tabulate TPOT and, by Little's law, the request rate that keeps each batch running."""
        self.profile, self.mix = profile, mix
        resident = mix.resident_tokens
        self._tpots = tuple(
            tpot_seconds(profile, batch=batch, kv_tokens=batch * resident, mix=mix)
            for batch in _BATCHES
        )
        self._rates = tuple(
            batch / (mix.output_tokens * seconds)
            for batch, seconds in zip(_BATCHES, self._tpots, strict=True)
        )
        # Where a larger batch carries less (a step time that jumps), load settles beyond it.
        self._carried = tuple(accumulate(self._rates, max))

    def largest_batch(
        self,
        *,
        tpot_limit_seconds: float,
        max_running_requests: float,
        swing_deviations: float = 0.0,
    ) -> float:
        """B*: the largest batch up to which TPOT, KV room and the engine's limit hold; at least 1.

        Never below 1: a replica that cannot keep the objective even alone still has an operating
        point, which makes it the dearest and the latest instead of undefined.

        Args:
            tpot_limit_seconds: Objective times margin.
            max_running_requests: The engine's limit.
            swing_deviations: How many deviations of prefill interference must fit below the limit.
        """
        mix = self.mix
        swing_seconds = swing_deviations * interference_swing_seconds(
            self.profile, mix, batch=1.0, output_tokens=mix.output_tokens
        )
        by_memory = self.profile.kv_capacity_tokens / max(mix.resident_tokens, 1.0)
        upper = max(1.0, min(by_memory, max_running_requests, _BATCHES[-1]))
        best = previous = 1.0
        room_before = 0.0
        for batch, tpot in zip(_BATCHES, self._tpots, strict=True):
            room = tpot_limit_seconds - tpot - swing_seconds * math.sqrt(batch)
            if room < 0.0:
                # Between the last batch that fits and this one, by straight line.
                share = room_before / (room_before - room) if previous > 1.0 else 0.0
                best = previous + (batch - previous) * share
                break
            best = previous = batch
            room_before = room
        return max(1.0, min(best, upper))

    def requests_per_second(self, batch: float) -> float:
        """The rate that keeps `batch` requests running."""
        resident = self.mix.resident_tokens
        seconds = tpot_seconds(self.profile, batch=batch, kv_tokens=batch * resident, mix=self.mix)
        return batch / (self.mix.output_tokens * seconds)

    def batch(self, requests_per_second: float) -> float:
        """The mean batch that a rate keeps running; infinite when it is more than can be served."""
        if requests_per_second <= self._carried[0]:
            return _BATCHES[0] * requests_per_second / self._carried[0]
        index = bisect_left(self._carried, requests_per_second)
        if index == len(self._carried):
            return math.inf
        low, high = self._carried[index - 1], self._carried[index]
        share = (requests_per_second - low) / (high - low)
        return _BATCHES[index - 1] + (_BATCHES[index] - _BATCHES[index - 1]) * share

    def decode_joules_per_token(self, batch: float) -> float:
        """W(B) / B: dynamic joules of one output token at a steady batch."""
        kv_tokens = batch * self.mix.resident_tokens
        return step_dynamic_joules(self.profile, batch=batch, kv_tokens=kv_tokens) / batch

    def dynamic_watts(self, requests_per_second: float) -> float:
        """Mean power above idle while serving a Poisson stream of the mix.

        The replica is busy a part 1 - exp(-B) of the time (occupancy of an M/G/inf queue), which
        is what makes a big unit dear for a small load. Infinite when the rate exceeds what the
        replica can ever serve.
        """
        if requests_per_second <= 0.0:
            return 0.0
        batch = self.batch(requests_per_second)
        if math.isinf(batch):
            return math.inf
        step, power = self.profile.step, self.profile.power
        busy_ratio = 1.0 - math.exp(-batch)
        prefill_ratio = min(
            busy_ratio,
            requests_per_second * step.prompt_seconds(self.mix.computed_prompt_tokens),
        )
        decode_watts = power.decode_watts(batch / busy_ratio) - power.idle_watts
        prefill_watts = power.prefill_watts - power.idle_watts
        return decode_watts * (busy_ratio - prefill_ratio) + prefill_watts * prefill_ratio
