"""Structural schemas of custom resources: prune, default, validate. CEL rules are not evaluated."""

import copy
import re

_IMPLICIT = {"apiVersion", "kind", "metadata"}
_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def prune(value, schema, *, root=False):
    """Drop what the schema does not know."""
    if isinstance(value, list):
        for item in value:
            prune(item, schema.get("items", {}))
    elif isinstance(value, dict) and schema.get("type", "object") == "object":
        _prune_object(
            value, schema, root=root or bool(schema.get("x-kubernetes-embedded-resource"))
        )


def _prune_object(value, schema, *, root):
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    kept = more is True or schema.get("x-kubernetes-preserve-unknown-fields")
    for name in list(value):
        if root and name in _IMPLICIT:
            continue
        below = known.get(name, more if isinstance(more, dict) else None)
        if below is not None:
            prune(value[name], below)
        elif not kept:
            del value[name]


def default(value, schema):
    """Fill in defaults, as deep as there are objects for them."""
    if isinstance(value, list):
        for item in value:
            default(item, schema.get("items", {}))
    elif isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, below in known.items():
            if "default" in below:
                value.setdefault(name, copy.deepcopy(below["default"]))
        for name, item in value.items():
            default(item, known.get(name, more if isinstance(more, dict) else {}))


def problems(value, schema, path=""):
    """(field, sentence) for everything that is wrong."""
    if value is None and schema.get("nullable"):
        return []
    if schema.get("x-kubernetes-int-or-string"):
        wrong = isinstance(value, bool) or not isinstance(value, int | str)
        return [(path, "must be an integer or a string")] if wrong else _scalar(value, schema, path)
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        return [(path, f"Invalid value: {type(value).__name__!r}: must be of type {kind}")]
    found = _scalar(value, schema, path)
    if isinstance(value, dict):
        found += _object(value, schema, path)
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += problems(item, schema.get("items", {}), f"{path}[{index}]")
        found += _unique(value, schema, path)
    return found


def list_keys(schema, found=None):
    """Names of the lists that are maps, with their keys."""
    found = {} if found is None else found
    for name, below in schema.get("properties", {}).items():
        if below.get("x-kubernetes-list-type") == "map":
            found[name] = tuple(below["x-kubernetes-list-map-keys"])
        list_keys(below, found)
        if isinstance(below.get("items"), dict):
            list_keys(below["items"], found)
    return found


def _is(value, kind):
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _object(value, schema, path):
    found = [
        (f"{path}.{name}".lstrip("."), "Required value")
        for name in schema.get("required", ())
        if name not in value
    ]
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        below = known.get(name, more if isinstance(more, dict) else None)
        if below is not None:
            found += problems(item, below, f"{path}.{name}".lstrip("."))
    return found


def _scalar(value, schema, path):
    size = len(value) if isinstance(value, str | list | dict) else None
    checks = (
        ("minimum", lambda limit: isinstance(value, int | float) and value < limit),
        ("maximum", lambda limit: isinstance(value, int | float) and value > limit),
        ("minLength", lambda limit: isinstance(value, str) and size < limit),
        ("maxLength", lambda limit: isinstance(value, str) and size > limit),
        ("minItems", lambda limit: isinstance(value, list) and size < limit),
        ("maxItems", lambda limit: isinstance(value, list) and size > limit),
        ("minProperties", lambda limit: isinstance(value, dict) and size < limit),
        ("maxProperties", lambda limit: isinstance(value, dict) and size > limit),
        ("pattern", lambda limit: isinstance(value, str) and not re.search(limit, value)),
        ("enum", lambda limit: value not in limit),
    )
    return [
        (path, f"Invalid value: {value!r}: {name} is {schema[name]!r}")
        for name, broken in checks
        if name in schema and broken(schema[name])
    ]


def _unique(items, schema, path):
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        seen = [tuple(item.get(key) for key in keys) for item in items if isinstance(item, dict)]
    elif kind == "set":
        seen = [repr(item) for item in items]
    else:
        return []
    return [] if len(set(seen)) == len(seen) else [(path, "Duplicate value")]
