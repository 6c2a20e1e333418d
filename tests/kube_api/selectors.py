"""Label and field selectors."""

import re

from kube_api.failures import ApiError

_SET = re.compile(r"^\s*([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([\w./-]+)\s*(==|!=|=)\s*([\w./-]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([\w./-]+)\s*$")


def label_matcher(text):
    """A predicate on labels from the text of a selector."""
    tests = [_label_test(part) for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return lambda labels: all(test(labels or {}) for test in tests)


def field_matcher(text):
    """A predicate on objects from "a.b=c,d!=e"."""
    wanted = []
    for part in filter(None, text.split(",")):
        match = re.match(r"^([\w.]+)(==|!=|=)(.*)$", part)
        if match is None:
            raise ApiError(400, f"invalid field selector {part!r}")
        wanted.append((match[1].split("."), match[2] != "!=", match[3]))
    return lambda obj: all((_at(obj, path) == value) == same for path, same, value in wanted)


def _label_test(part):
    if match := _SET.match(part):
        key, inside = match[1], match[2] == "in"
        values = {value.strip() for value in match[3].split(",")}
        return lambda labels: (labels.get(key) in values) == inside
    if match := _EQUAL.match(part):
        key, same, value = match[1], match[2] != "!=", match[3]
        return lambda labels: (labels.get(key) == value) == same
    if match := _EXISTS.match(part):
        absent, key = match[1] == "!", match[2]
        return lambda labels: (key in labels) != absent
    raise ApiError(400, f"unable to parse requirement {part!r}")


def _at(obj, path):
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)
