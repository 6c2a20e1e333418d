r"""The Prometheus text format, read for the wanted families only.

A vLLM answers with five hundred lines (histogram buckets) of which a dozen matter. One expression
finds the lines whose name is wanted, in one pass that builds nothing of the others. What stands
before a line's value (name and labels) is the same in every round and on every replica of a
model: it is read once and recognised afterwards.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text 0.0.4).
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
# After the name: labels (values may hold braces and escaped quotes), value, milliseconds.
_REST = re.compile(
    rb"[ \t]*(?:\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?"
    rb"[ \t]*([^ \t]+)(?:[ \t]+(-?[0-9]+))?[ \t]*\Z",
    re.DOTALL,
)
_BRACES = re.compile(rb"\{(?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*\}", re.DOTALL)
_LABEL = re.compile(
    rb"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*\"((?:[^\"\\]|\\.)*)\"[ \t]*(?:,|\Z)", re.DOTALL
)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b'"': b'"', b"\\": b"\\"}


class ExposedSample(NamedTuple):
    """One line of an exposition.

    Attributes:
        name: Metric name as written, `_total` and `_bucket` included.
        labels: Unescaped. The same object in every round in which the line begins the same.
        value: May be NaN or infinite.
        timestamp_epoch_seconds: When the exporter says it measured; None when it does not say.
    """

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp_epoch_seconds: float | None


class Exposition(NamedTuple):
    """The wanted samples of a body, and the names of the wanted lines that could not be read."""

    samples: list[ExposedSample]
    malformed: list[str]


class FamilyReader:
    """Reads pages for the families of some names. Mutable: it remembers how lines begin."""

    # Several times what a fleet has at once: a page that makes up labels must not fill the memory.
    _REMEMBERED_LINES = 65536

    def __init__(self, names: Collection[bytes]) -> None:
        """Read for `names`, which are metric names as written (`_total` and `_bucket` included)."""
        # No name starts anywhere but at the start of a line, nor ends before its last character.
        legal = [name for name in sorted(names) if _NAME.fullmatch(name)]
        pattern = rb"\n(%s)(?![a-zA-Z0-9_:])([^\n]*)" % _any_of(legal)
        self._lines = re.compile(pattern) if legal else None
        self._known: dict[bytes, tuple[str, Mapping[str, str]]] = {}

    def read(self, page: bytes) -> Exposition:
        """Read the samples of the wanted families; skip everything else."""
        samples: list[ExposedSample] = []
        malformed: list[str] = []
        # Not lines in the sense of splitlines: a label value may hold a carriage return.
        for name, rest in self._lines.findall(b"\n" + page) if self._lines else ():
            sample = self._again(name, rest) or self._anew(name, rest)
            if sample is None:
                malformed.append(name.decode())
            else:
                samples.append(sample)
        return Exposition(samples, malformed)

    def wanted_bytes(self, page: bytes) -> int:
        """How much of a page is lines that are read."""
        found = self._lines.findall(b"\n" + page) if self._lines else ()
        return sum(len(name) + len(rest) + 1 for name, rest in found)

    def _again(self, name: bytes, rest: bytes) -> ExposedSample | None:
        """The sample of a line that begins as one did before, if it goes on as it is to."""
        start, _, value = rest.rpartition(b" ")
        known = self._known.get(name + start)
        if known is None or b"\t" in value:
            return None
        try:
            return ExposedSample(*known, float(value), None)
        except ValueError:
            return None

    def _anew(self, name: bytes, rest: bytes) -> ExposedSample | None:
        sample = _sample(name, rest.rstrip(b"\r"))
        start = rest.rpartition(b" ")[0]
        # Whatever follows such a beginning and a blank is a value, and nothing else is.
        if sample is not None and _is_whole(start, sample):
            if len(self._known) >= self._REMEMBERED_LINES:
                self._known.clear()
            self._known[name + start] = sample.name, sample.labels
        return sample


def _any_of(names: list[bytes]) -> bytes:
    """An expression of exactly these names, beginnings in common tried once."""
    by_first: dict[bytes, list[bytes]] = {}
    for name in names:
        if name:
            by_first.setdefault(name[:1], []).append(name[1:])
    if not by_first:
        return b""
    ways = [first + _any_of(rest) for first, rest in by_first.items()]  # nothing to escape in names
    if b"" not in names and len(ways) == 1:
        return ways[0]
    return b"(?:%s)%s" % (b"|".join(ways), b"?" if b"" in names else b"")


def _is_whole(start: bytes, sample: ExposedSample) -> bool:
    """Whether `start` is all the labels of `sample` and nothing else."""
    if not start:
        return not sample.labels
    return _BRACES.fullmatch(start) is not None


def _sample(name: bytes, rest: bytes) -> ExposedSample | None:
    parts = _REST.match(rest)
    if parts is None:
        return None
    labels = _labels(parts[1] or b"")
    if labels is None:
        return None
    try:
        value = float(parts[2])
    except ValueError:
        return None
    timestamp = None if parts[3] is None else int(parts[3]) / 1e3
    return ExposedSample(name.decode(), labels, value, timestamp)


def _labels(text: bytes) -> dict[str, str] | None:
    labels: dict[str, str] = {}
    position = 0
    while position < len(text) and text[position:].strip(b" \t"):
        match = _LABEL.match(text, position)
        if match is None:
            return None
        labels[match[1].decode()] = _unescape(match[2])
        position = match.end()
    return labels


def _unescape(value: bytes) -> str:
    if b"\\" in value:
        value = _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), value)
    return value.decode(errors="replace")
