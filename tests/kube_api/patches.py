"""The three patches that are not an apply."""

import copy

from kube_api.failures import ApiError

# Lists that a strategic merge joins by key; every other list is replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "conditions": "type",
    "ownerReferences": "uid",
    "schedulingGates": "name",
}


def merge_patch(target, patch, *, strategic=False):
    """RFC 7386; strategic: lists with a merge key are joined by it."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif strategic and name in _MERGE_KEYS and isinstance(value, list):
            result[name] = _join(result.get(name) or [], value, _MERGE_KEYS[name])
        else:
            result[name] = merge_patch(result.get(name), value, strategic=strategic)
    return result


def json_patch(target, operations):
    """RFC 6902."""
    document = {"": copy.deepcopy(target)}
    for operation in operations:
        _operate(document, operation)
    return document[""]


def _join(present, given, key):
    joined = {item.get(key): item for item in present}
    for item in given:
        if item.get("$patch") == "delete":
            joined.pop(item.get(key), None)
        else:
            joined[item.get(key)] = merge_patch(joined.get(item.get(key)), item, strategic=True)
    return list(joined.values())


def _operate(document, operation):
    kind = operation["op"]
    if kind == "test":
        if _read(document, operation["path"]) != operation.get("value"):
            raise ApiError(422, f"the test of {operation['path']} failed")
        return
    value = operation.get("value")
    if kind in ("move", "copy"):
        value = copy.deepcopy(_read(document, operation["from"]))
    if kind == "move":
        _write(document, operation["from"], None, remove=True)
    _write(document, operation["path"], value, remove=kind == "remove", replace=kind == "replace")


def _tokens(pointer):
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]


def _read(node, pointer):
    for token in _tokens(pointer):
        try:
            node = node[int(token)] if isinstance(node, list) else node[token]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ApiError(422, f"the path {pointer!r} does not exist") from None
    return node


def _write(document, pointer, value, *, remove=False, replace=False):
    *parents, last = _tokens(pointer)
    node = _read(document, "/".join(parents)) if parents else document
    if isinstance(node, list):
        index = len(node) if last == "-" else int(last)
        if remove or replace:
            node.pop(index)
        if not remove:
            node.insert(index, value)
    elif remove or replace:
        if last not in node:
            raise ApiError(422, f"the path {pointer!r} does not exist")
        node.pop(last)
        if replace:
            node[last] = value
    else:
        node[last] = value
