"""Sums of ended requests over all workers. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy

from router.metering.series import Histogram, Key, Series, Sums


class SummedSeries(Series):
    """Reads like one worker's series; holds what it was last given."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._all: Mapping[Key, Sums] = {}

    def __iter__(self) -> Iterator[tuple[Key, Sums]]:
        """All ((model, backend, tenant), sums)."""
        return iter(self._all.items())

    def show(self, sums: Mapping[Key, Sums]) -> None:
        """Hold these from now on."""
        self._all = sums


def summed(parts: Iterable[Mapping[Key, Sums]]) -> dict[Key, Sums]:
    """The sums of all parts, in new objects."""
    found: dict[Key, Sums] = {}
    for part in parts:
        for key, sums in part.items():
            if key in found:
                _add(found[key], sums)
            else:
                found[key] = deepcopy(sums)
    return found


def _add(into: Sums, sums: Sums) -> None:
    for name in ("joules", "duration", "ttfb", "ttft"):
        _add_histogram(getattr(into, name), getattr(sums, name))
    for name in ("ended", "tokens", "numbers"):
        counts = getattr(into, name)
        for key, value in getattr(sums, name).items():
            counts[key] = counts.get(key, 0) + value


def _add_histogram(into: Histogram, histogram: Histogram) -> None:
    into.counts = [one + two for one, two in zip(into.counts, histogram.counts, strict=True)]
    into.total += histogram.total
