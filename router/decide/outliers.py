"""Replicas that the data plane skipped lately: it names who really served each request.

A pick that could not be connected shows there first, long before a scrape fails. Each skip adds one
to a score that halves every few seconds, so that a replica is avoided for seconds and asked again
by itself; there is no list that somebody must clear.
"""

_HALF_LIFE_SECONDS = 10.0
# Two skips within seconds of each other; one alone may be a connection that had just idled out.
_AVOIDED_FROM = 1.5
# Bounds how long a storm of skips keeps a replica out: two half-lives after the last.
_HIGHEST = 4 * _AVOIDED_FROM
_FORGOTTEN_BELOW = 0.05
_NONE: frozenset[str] = frozenset()


class Outliers:
    """Decaying scores of skips, by address; addresses without a skip take no memory."""

    __slots__ = ("_scores",)

    def __init__(self) -> None:
        """Start without any skip."""
        self._scores: dict[str, tuple[float, float]] = {}

    def skipped(self, address: str, *, now_seconds: float) -> None:
        """A request that was sent to `address` was served elsewhere."""
        score = min(self.score(address, now_seconds=now_seconds) + 1.0, _HIGHEST)
        self._scores[address] = (score, now_seconds)

    def served(self, address: str) -> bool:
        """A request was served there: nothing is held against the replica; whether that was."""
        return self._scores.pop(address, None) is not None

    def score(self, address: str, *, now_seconds: float) -> float:
        """Skips, each halved every ten seconds since."""
        score, at_seconds = self._scores.get(address, (0.0, now_seconds))
        return float(score * 0.5 ** (max(now_seconds - at_seconds, 0.0) / _HALF_LIFE_SECONDS))

    def avoided(self, *, now_seconds: float) -> frozenset[str]:
        """Addresses to leave out while others can serve."""
        if not self._scores:
            return _NONE
        scores = {address: self.score(address, now_seconds=now_seconds) for address in self._scores}
        for address, score in scores.items():
            if score < _FORGOTTEN_BELOW:
                del self._scores[address]
        return frozenset(address for address, score in scores.items() if score >= _AVOIDED_FROM)

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Forget replicas that are gone."""
        for address in set(self._scores) - addresses:
            del self._scores[address]
