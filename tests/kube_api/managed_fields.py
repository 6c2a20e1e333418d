"""Who set which field: server-side apply and the bookkeeping of all other writes.

A field is a path of steps: ("f", name), ("k", ((key, value), ...)) for an item of a list that is a
map, ("v", value) for an item of a list that is a set. A list without such keys is one field.
"""

import copy
import itertools
import json

from kube_api.failures import ApiError

_LIST_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "schedulingGates": ("name",),
}
_SETS = {"finalizers"}
_UNOWNED = {
    ("apiVersion",),
    ("kind",),
    *(
        ("metadata", name)
        for name in (
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
        )
    ),
}


def fields_of(obj, list_keys=None):
    """Every owned field of an object, with its value."""
    keys = {**_LIST_KEYS, **(list_keys or {})}
    found = {}
    _walk(obj, (), found, keys)
    return found


def apply(live, applied, *, manager, force, subresource, now, list_keys=None):
    """The object after `manager` has applied; raises 409 with a cause per contested field."""
    keys = {**_LIST_KEYS, **(list_keys or {})}
    wanted = fields_of(applied, keys)
    current = fields_of(live, keys)
    owners = _owners(live)
    mine = (manager, "Apply", subresource)
    contested = {
        path: owner
        for owner, paths in owners.items()
        if owner != mine
        for path in wanted
        if path in paths and current.get(path) != wanted[path]
    }
    if contested and not force:
        raise _conflict(contested)
    result = copy.deepcopy(live)
    for path in owners.get(mine, set()) - set(wanted):
        if not any(path in paths for owner, paths in owners.items() if owner != mine):
            _remove(result, path)
    for path, value in wanted.items():
        _put(result, path, copy.deepcopy(value))
    for owner, paths in owners.items():
        if owner != mine:
            paths.difference_update(contested)
    owners[mine] = set(wanted)
    _record(result, owners, live, now=now, touched=mine)
    return result


def note_update(before, after, *, manager, subresource, now, list_keys=None):
    """Give the fields that an update changed to its writer."""
    keys = {**_LIST_KEYS, **(list_keys or {})}
    old, new = fields_of(before or {}, keys), fields_of(after, keys)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    owners = _owners(before or {})
    mine = (manager, "Update", subresource)
    for paths in owners.values():
        paths.difference_update(changed)
        paths.intersection_update(new)
    if changed:
        owners.setdefault(mine, set()).update(changed)
    _record(after, owners, before or {}, now=now, touched=mine if changed else None)


def _walk(node, path, found, keys):
    if tuple(step[1] for step in path) in _UNOWNED:
        return
    name = path[-1][1] if path else ""
    if isinstance(node, dict) and (node or not path):
        for key, value in node.items():
            _walk(value, (*path, ("f", key)), found, keys)
    elif isinstance(node, list) and name in keys and _keyed(node, keys[name]):
        for item in node:
            key = ("k", tuple((each, item[each]) for each in keys[name]))
            found[(*path, key)] = {each: item[each] for each in keys[name]}
            _walk(item, (*path, key), found, keys)
    elif isinstance(node, list) and name in _SETS:
        for item in node:
            found[(*path, ("v", item))] = item
    else:
        found[path] = node


def _keyed(items, keys):
    return all(isinstance(item, dict) and all(key in item for key in keys) for item in items)


def _descend(node, step, *, create):
    kind, what = step
    if kind == "f":
        return node.setdefault(what, {}) if create else node.get(what)
    for item in node:
        if kind == "k" and all(item.get(key) == value for key, value in what):
            return item
    if not create:
        return None
    node.append(dict(what))
    return node[-1]


def _put(obj, path, value):
    node = obj
    for step, following in itertools.pairwise(path):
        if following[0] != "f" and not isinstance(node.get(step[1]), list):
            node[step[1]] = []
        elif following[0] == "f" and step[0] == "f" and not isinstance(node.get(step[1]), dict):
            node[step[1]] = {}
        node = _descend(node, step, create=True)
    kind, what = path[-1]
    if kind == "f":
        if value != {} or not isinstance(node.get(what), dict):
            node[what] = value
    elif kind == "v" and what not in node:
        node.append(what)
    elif kind == "k":
        _descend(node, path[-1], create=True)


def _remove(obj, path):
    node = obj
    for step in path[:-1]:
        node = _descend(node, step, create=False) if node is not None else None
    if node is None:
        return
    kind, what = path[-1]
    if kind == "f":
        node.pop(what, None)
    elif kind == "v" and what in node:
        node.remove(what)
    elif kind == "k" and (item := _descend(node, path[-1], create=False)) is not None:
        node.remove(item)


def _conflict(contested):
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{owner[0]}" using the {owner[1]} operation',
            "field": _dotted(path),
        }
        for path, owner in sorted(contested.items(), key=lambda pair: _dotted(pair[0]))
    ]
    return ApiError(
        409, f"Apply failed with {len(causes)} conflicts: {causes[0]['message']}", causes=causes
    )


def _dotted(path):
    text = ""
    for kind, what in path:
        text += (
            f".{what}" if kind == "f" else f"[{json.dumps(dict(what) if kind == 'k' else what)}]"
        )
    return text


def _owners(obj):
    owners = {}
    for entry in obj.get("metadata", {}).get("managedFields", ()):
        key = (entry["manager"], entry["operation"], entry.get("subresource", ""))
        owners[key] = set(_read_tree(entry.get("fieldsV1", {}), ()))
    return owners


def _read_tree(tree, path):
    if not tree and path:
        yield path
    for text, below in tree.items():
        if text == ".":
            yield path
            continue
        kind, _, what = text.partition(":")
        step = (kind, what)
        if kind == "k":
            step = ("k", tuple(json.loads(what).items()))
        elif kind == "v":
            step = ("v", json.loads(what))
        yield from _read_tree(below, (*path, step))


def _record(obj, owners, before, *, now, touched):
    times = {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry.get("time")
        for entry in before.get("metadata", {}).get("managedFields", ())
    }
    entries = []
    for owner, paths in owners.items():
        if not paths:
            continue
        manager, operation, subresource = owner
        entry = {
            "manager": manager,
            "operation": operation,
            "apiVersion": obj["apiVersion"],
            "time": now if owner == touched else times.get(owner) or now,
            "fieldsType": "FieldsV1",
            "fieldsV1": _write_tree(paths),
        }
        if subresource:
            entry["subresource"] = subresource
        entries.append(entry)
    obj["metadata"]["managedFields"] = entries


def _write_tree(paths):
    tree = {}
    for path in sorted(paths, key=lambda path: (len(path), _dotted(path))):
        node = tree
        for kind, what in path:
            text = what if kind == "f" else json.dumps(dict(what) if kind == "k" else what)
            node = node.setdefault(f"{kind}:{text}", {})
        if path[-1][0] == "k":
            node["."] = {}
    return tree
