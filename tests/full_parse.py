"""The text format read line by line, every line on its own: what a quicker reader must equal."""

import re

from telemetry.exposition import ExposedSample, Exposition

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_REST = re.compile(
    rb"[ \t]*(?:\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?"
    rb"[ \t]*([^ \t]+)(?:[ \t]+(-?[0-9]+))?[ \t]*\Z",
    re.DOTALL,
)
_LABEL = re.compile(
    rb"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*\"((?:[^\"\\]|\\.)*)\"[ \t]*(?:,|\Z)", re.DOTALL
)
_ESCAPED = {b"n": b"\n", b'"': b'"', b"\\": b"\\"}


def full_parse(body, wanted):
    """Every line is looked at, nothing is remembered."""
    samples, malformed = [], []
    for line in body.split(b"\n"):
        name = _NAME.match(line)
        if name is None or name[0] not in wanted:
            continue
        sample = _sample(name[0].decode(), line[name.end() :].rstrip(b"\r"))
        if sample is None:
            malformed.append(name[0].decode())
        else:
            samples.append(sample)
    return Exposition(samples, malformed)


def _sample(name, rest):
    parts = _REST.match(rest)
    labels = None if parts is None else _labels(parts[1] or b"")
    if labels is None:
        return None
    try:
        value = float(parts[2])
    except ValueError:
        return None
    timestamp = None if parts[3] is None else int(parts[3]) / 1e3
    return ExposedSample(name, labels, value, timestamp)


def _labels(text):
    labels, position = {}, 0
    while position < len(text) and text[position:].strip(b" \t"):
        match = _LABEL.match(text, position)
        if match is None:
            return None
        value = re.sub(rb"\\(.)", lambda m: _ESCAPED.get(m[1], m[0]), match[2], flags=re.DOTALL)
        labels[match[1].decode()] = value.decode(errors="replace")
        position = match.end()
    return labels
