"""How far predictions of cached tokens may be trusted: what the engine found over what we said.

The engine's counters are of all its requests, ours or not; its hit ratio is therefore compared
with the ratio that was predicted of ours. Few hits where many were predicted (caching is off, the
chat template puts a date in front, others push our blocks out) shrink the predictions that follow.
"""

from router.decide.decayed_sum import DecayedSum

# Long enough for the counters of a slow model to move, short enough to notice a changed template.
_WINDOW_SECONDS = 120.0
# Predicted tokens that the benefit of the doubt is worth.
_PRIOR_TOKENS = 8192.0


class Trust:
    """One replica's predictions against its counters."""

    __slots__ = ("_hit", "_predicted", "_prompt", "_queried", "_totals")

    def __init__(self) -> None:
        """Full trust, quickly lost."""
        self._prompt = DecayedSum(_WINDOW_SECONDS)
        self._predicted = DecayedSum(_WINDOW_SECONDS)
        self._queried = DecayedSum(_WINDOW_SECONDS)
        self._hit = DecayedSum(_WINDOW_SECONDS)
        self._totals: tuple[float, float] | None = None

    def predict(self, *, prompt_tokens: float, cached_tokens: float, now_seconds: float) -> None:
        """A prompt was sent with this much believed to be cached, before any shrinking."""
        self._prompt.add(prompt_tokens, now_seconds=now_seconds)
        self._predicted.add(cached_tokens, now_seconds=now_seconds)

    def count(self, *, looked_up_total: float, hit_total: float, now_seconds: float) -> None:
        """The engine's counters, in tokens; totals that only grow."""
        before, self._totals = self._totals, (looked_up_total, hit_total)
        if before is None:
            return
        self._queried.add(max(0.0, looked_up_total - before[0]), now_seconds=now_seconds)
        self._hit.add(max(0.0, hit_total - before[1]), now_seconds=now_seconds)

    def ratio(self, *, now_seconds: float) -> float:
        """By what predictions are multiplied, from 0 to 1; 1 while the engine does not tell."""
        if self._totals is None:  # nothing was ever counted
            return 1.0
        queried = self._queried.read(now_seconds=now_seconds)
        if queried <= 0.0:
            return 1.0
        hit_ratio = min(1.0, self._hit.read(now_seconds=now_seconds) / queried)
        found = hit_ratio * self._prompt.read(now_seconds=now_seconds)
        predicted = self._predicted.read(now_seconds=now_seconds)
        return min(1.0, (found + _PRIOR_TOKENS) / (predicted + _PRIOR_TOKENS))
