"""The last few samples of everything that is measured, each with the time of its measurement."""

from collections.abc import Hashable

from capper.decide.observation import Sample

_SAME_SECONDS = 0.5  # times of one sample, worked out in two turns, differ by less
_FORGET_SECONDS = 600.0


class Windows:
    """Keeps samples between turns, so that the worst of the last ones can be taken.

    A turn without an answer leaves them as they are: they grow old, and are not believed any more.
    """

    def __init__(self) -> None:
        """Empty."""
        self._samples: dict[Hashable, list[tuple[float, float]]] = {}

    def note(self, key: Hashable, value: float, *, age_seconds: float, now_seconds: float) -> None:
        """Add a measurement; it takes the place of one of the same time.

        Args:
            key: What was measured.
            value: Its value.
            age_seconds: How old it is.
            now_seconds: Monotonic.
        """
        measured_seconds = now_seconds - age_seconds
        kept = self._samples.setdefault(key, [])
        for place, (seconds, _) in enumerate(kept):
            if abs(measured_seconds - seconds) < _SAME_SECONDS:
                kept[place] = (seconds, value)
                return
        kept.append((measured_seconds, value))
        kept.sort(reverse=True)

    def samples(self, key: Hashable, *, count: int, now_seconds: float) -> tuple[Sample, ...]:
        """The newest `count`, the newest first, with their ages now."""
        kept = self._samples.get(key, [])
        del kept[count:]
        return tuple(Sample(value, now_seconds - measured) for measured, value in kept)

    def knows(self, key: Hashable) -> bool:
        """Whether there is any sample."""
        return key in self._samples

    def forget_old(self, now_seconds: float) -> None:
        """Let go what was not measured for long: its configuration, or rack, is gone."""
        for key, kept in [*self._samples.items()]:
            if not kept or now_seconds - kept[0][0] > _FORGET_SECONDS:
                del self._samples[key]
