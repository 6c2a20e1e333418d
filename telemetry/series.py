"""Samples from the answers to one query, whose series are the same in every answer.

What a series is (which alternative, value or age, which labels) is found out once and then looked
up by the text of its labels. Pure.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from telemetry.families import Family
from telemetry.fleet_index import Sample
from telemetry.queries import PART_LABEL, Query
from telemetry.query_answers import LABELS, Entry

_DIGEST_BYTES = 16
# What goes with a replica stays known until as much again is: replicas come and go.
_SPARE = 1024


class _Series(NamedTuple):
    """What one series is.

    Attributes:
        pair: The same for a value and its age, and for nothing else.
        family: Of a value; None: it is an age.
        labels: Of a value. The same object in every answer.
    """

    pair: bytes
    family: Family | None
    labels: Mapping[str, str]


_NO_LABELS: Mapping[str, str] = {}
# What was not asked for passes for the age of no value.
_STRAY = _Series(b"", None, _NO_LABELS)


class SeriesBook:
    """Knows the series of the answers to one query.

    Attributes:
        known: Those of the last answers, by the text of their labels.
    """

    def __init__(self, query: Query) -> None:
        """Know none yet."""
        self._families = {str(family.rank): family for family in query.families}
        self.known: dict[bytes, _Series] = {}

    def learn(self, text: bytes) -> _Series:
        """Find out what the series with these labels is."""
        series = self.known[text] = self._series(text)
        return series

    def forget_but(self, entries: int) -> None:
        """Forget all once it is much more than the `entries` of the newest answer."""
        if len(self.known) > 2 * entries + _SPARE:
            self.known.clear()

    def _series(self, text: bytes) -> _Series:
        labels = {sys.intern(name): sys.intern(it) for name, it in LABELS.decode(text).items()}
        part, _, rank = labels.pop(PART_LABEL, "").partition("-")
        labels.pop("__name__", None)  # an age has none
        # 16 bytes instead of all labels: of a million series two clash with a chance of 1.5e-27.
        told = msgspec.json.encode([rank, sorted(labels.items())])
        pair = blake2b(told, digest_size=_DIGEST_BYTES).digest()
        if part == "age":
            return _Series(pair, None, _NO_LABELS)
        if part == "value" and rank in self._families:
            return _Series(pair, self._families[rank], labels)
        return _STRAY


class Pairing:
    """One answer, taken in and given out in steps."""

    def __init__(self, book: SeriesBook) -> None:
        """Begin."""
        self._book = book
        self._ages: dict[bytes, float] = {}
        # Two lists and no pairs: what is not made needs no garbage collection.
        self._series: list[_Series] = []
        self._values: list[float] = []
        self._entries = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """Take a part of the answer in."""
        known, ages = self._book.known, self._ages
        self._entries += len(entries)
        for entry in entries:
            text = bytes(entry.metric)
            series = known.get(text) or self._book.learn(text)
            if series.family is None:
                ages[series.pair] = float(entry.value.text)
            else:
                self._series.append(series)
                self._values.append(float(entry.value.text))

    def samples(self, *, evaluated_seconds: float) -> Iterator[Sample]:
        """Values with their ages; a value without one is left out.

        Args:
            evaluated_seconds: Monotonic time at which Prometheus evaluated it, at the earliest.
        """
        self._book.forget_but(self._entries)
        for series, value in zip(self._series, self._values, strict=True):
            age_seconds = self._ages.get(series.pair)
            if age_seconds is not None and series.family is not None:
                observed_seconds = evaluated_seconds - max(age_seconds, 0.0)
                yield Sample(series.family, series.labels, value, observed_seconds)
