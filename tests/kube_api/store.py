"""Objects, resource versions, and the events that watches are made of."""

import asyncio
from collections import defaultdict, deque
from typing import NamedTuple

from kube_api.failures import ApiError

_HISTORY = 1000


class Change(NamedTuple):
    """One write; `before` is None for a creation, `after` for a deletion."""

    version: int
    key: str
    before: dict | None
    after: dict | None
    last: dict  # the object as of `version`, also of a deleted one


class Store:
    """Everything the server remembers."""

    def __init__(self):
        self.version = 1
        self.forgotten = 0  # changes up to this version can no longer be watched
        self._objects = defaultdict(dict)
        self._history = deque()
        self._changed = asyncio.Event()

    def objects(self, key, namespace=None):
        """All objects of a resource, by name."""
        found = self._objects[key]
        return [found[at] for at in sorted(found) if namespace in (None, at[0])]

    def find(self, key, namespace, name):
        """One object or None."""
        return self._objects[key].get((namespace or "", name))

    def write(self, key, obj):
        """Create or replace; returns the object with its new version."""
        metadata = obj["metadata"]
        at = (metadata.get("namespace", ""), metadata["name"])
        before = self._objects[key].get(at)
        self.version += 1
        obj = {**obj, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        self._objects[key][at] = obj
        self._note(Change(self.version, key, before, obj, obj))
        return obj

    def remove(self, key, obj):
        """Delete for good."""
        metadata = obj["metadata"]
        before = self._objects[key].pop((metadata.get("namespace", ""), metadata["name"]))
        self.version += 1
        last = {**obj, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        self._note(Change(self.version, key, before, None, last))
        return last

    def since(self, version, key):
        """Changes of a resource after `version`; 410 when some of them are forgotten."""
        if version < self.forgotten:
            raise ApiError(410, f"too old resource version: {version} ({self.forgotten})")
        return [
            change for change in self._history if change.version > version and change.key == key
        ]

    def compact(self):
        """Forget all history, as etcd does every five minutes."""
        self._history.clear()
        self.forgotten = self.version

    async def wait(self):
        """Return at the next write."""
        await self._changed.wait()

    def _note(self, change):
        self._history.append(change)
        while len(self._history) > _HISTORY:
            self.forgotten = self._history.popleft().version
        self._changed.set()
        self._changed = asyncio.Event()
