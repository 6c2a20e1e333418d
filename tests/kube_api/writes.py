"""Creating, changing and deleting objects: what happens between a request and the store."""

import copy
import secrets
import time
import uuid

from kube_api import managed_fields, patches, pods, schema
from kube_api.failures import ApiError, invalid, not_found
from kube_api.resources import of_crd

_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp")


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Writes:
    """The writing half of the server; synchronous, so that every request is one transaction."""

    def __init__(self, store, resources):
        self._store = store
        self._resources = resources  # of CRDs come and go

    def create(self, resource, namespace, obj, *, manager):
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        if not metadata.get("name"):
            raise invalid(resource, "", [("metadata.name", "Required value")])
        if resource.namespaced:
            metadata["namespace"] = namespace
            if self._store.find("namespaces", None, namespace) is None:
                raise ApiError(404, f'namespaces "{namespace}" not found')
        if self._store.find(resource.store_key, namespace, metadata["name"]) is not None:
            raise ApiError(
                409,
                f'{resource.qualified} "{metadata["name"]}" already exists',
                reason="AlreadyExists",
            )
        obj = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
        if "status" in resource.subresources and resource.kind != "Namespace":
            obj.pop("status", None)
        obj["metadata"] = {
            **metadata,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
            "generation": 1,
        }
        self._admit(resource, obj)
        managed_fields.note_update(
            None, obj, manager=manager, subresource="", now=now(), list_keys=resource.list_keys
        )
        return self._write(resource, obj)

    def replace(self, resource, before, obj, *, manager, subresource=""):
        wanted = obj.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != before["metadata"]["resourceVersion"]:
            name = before["metadata"]["name"]
            raise ApiError(
                409,
                f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has '
                "been modified; please apply your changes to the latest version and try again",
            )
        uid = obj.get("metadata", {}).get("uid")
        if uid and uid != before["metadata"]["uid"]:
            immutable = f'Invalid value: "{uid}": field is immutable'
            raise invalid(resource, before["metadata"]["name"], [("metadata.uid", immutable)])
        after = self._merged(resource, before, obj, subresource)
        managed_fields.note_update(
            before,
            after,
            manager=manager,
            subresource=subresource,
            now=now(),
            list_keys=resource.list_keys,
        )
        return self._finish(resource, before, after)

    def patch(self, resource, before, body, kind, *, manager, subresource=""):
        live = copy.deepcopy(before)
        if kind == "application/json-patch+json":
            obj = patches.json_patch(live, body)
        else:
            strategic = kind == "application/strategic-merge-patch+json"
            obj = patches.merge_patch(live, body, strategic=strategic)
        return self.replace(resource, before, obj, manager=manager, subresource=subresource)

    def apply(self, resource, before, obj, *, manager, force, subresource=""):
        applied = {key: value for key, value in obj.items() if key != "status"}
        if subresource:
            applied = {key: obj[key] for key in ("apiVersion", "kind", "metadata", "status")}
        elif "status" not in resource.subresources:
            applied = obj
        after = managed_fields.apply(
            before,
            applied,
            manager=manager,
            force=force,
            subresource=subresource,
            now=now(),
            list_keys=resource.list_keys,
        )
        owners = after["metadata"]["managedFields"]
        after = self._merged(resource, before, after, subresource)
        after["metadata"]["managedFields"] = owners
        return self._finish(resource, before, after)

    def apply_new(self, resource, namespace, obj, *, manager):
        obj.setdefault("metadata", {}).pop("managedFields", None)
        created = self.create(resource, namespace, obj, manager=manager)
        for entry in created["metadata"]["managedFields"]:
            entry["operation"] = "Apply"
        return created

    def delete(self, resource, obj, *, grace_seconds=None):
        metadata = obj["metadata"]
        grace = pods.grace_seconds(obj, grace_seconds) if resource.kind == "Pod" else 0
        if (metadata.get("finalizers") or grace) and grace_seconds != 0:
            if metadata.get("deletionTimestamp"):
                return obj
            obj = copy.deepcopy(obj)
            obj["metadata"]["deletionTimestamp"] = now()
            obj["metadata"]["deletionGracePeriodSeconds"] = grace
            obj["metadata"]["generation"] = metadata.get("generation", 0) + 1
            return self._write(resource, obj)
        if metadata.get("finalizers"):
            return obj
        return self._remove(resource, obj)

    def _merged(self, resource, before, obj, subresource):
        """What of `obj` this endpoint may change, on top of what is there."""
        obj = copy.deepcopy(obj)
        if subresource == "status":
            after = copy.deepcopy(before)
            after["status"] = obj.get("status", {})
        else:
            after = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
            if "status" in resource.subresources:
                after.pop("status", None)
                if "status" in before:
                    after["status"] = copy.deepcopy(before["status"])
        metadata = {
            key: value
            for key, value in after["metadata"].items()
            if key not in ("managedFields", *_KEPT)
        }
        kept = {key: before["metadata"][key] for key in _KEPT if key in before["metadata"]}
        after["metadata"] = {
            **metadata,
            **kept,
            "resourceVersion": before["metadata"]["resourceVersion"],
        }
        if resource.kind == "Pod" and not subresource:
            pods.check_update(resource, before, after)
        return after

    def _finish(self, resource, before, after):
        self._check(resource, after)
        if _without(before) == _without(after):
            return before
        if before.get("spec") != after.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1
        metadata = after["metadata"]
        ending = metadata.get("deletionTimestamp") and not metadata.get("finalizers")
        if ending and not metadata.get("deletionGracePeriodSeconds"):
            return self._remove(resource, after)
        return self._write(resource, after)

    def _admit(self, resource, obj):
        if resource.kind == "Pod":
            pods.admit(obj)
        if resource.kind == "Namespace":
            obj["status"] = {"phase": "Active"}
        if resource.kind == "CustomResourceDefinition":
            obj["status"] = {
                "conditions": [
                    {"type": kind, "status": "True", "reason": "Accepted"}
                    for kind in ("NamesAccepted", "Established")
                ],
                "acceptedNames": obj["spec"]["names"],
            }
        self._check(resource, obj)

    def _check(self, resource, obj):
        if resource.schema is None:
            return
        schema.prune(obj, resource.schema, root=True)
        schema.default(obj, resource.schema)
        if found := schema.problems(obj, resource.schema):
            raise invalid(resource, obj["metadata"]["name"], found)

    def _write(self, resource, obj):
        written = self._store.write(resource.store_key, obj)
        if resource.kind == "CustomResourceDefinition":
            self._uninstall(obj)
            self._resources.extend(of_crd(written))
        return written

    def _remove(self, resource, obj):
        if resource.kind == "CustomResourceDefinition":
            self._uninstall(obj)
            for left in self._store.objects(
                f"{obj['spec']['names']['plural']}.{obj['spec']['group']}"
            ):
                self._store.remove(f"{obj['spec']['names']['plural']}.{obj['spec']['group']}", left)
        return self._store.remove(resource.store_key, obj)

    def _uninstall(self, crd):
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        self._resources[:] = [
            each for each in self._resources if (each.group, each.plural) != (group, plural)
        ]


def lookup(store, resource, namespace, name):
    """The object, or 404."""
    obj = store.find(resource.store_key, namespace if resource.namespaced else None, name)
    if obj is None:
        raise not_found(resource, name)
    return obj


def _without(obj):
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("managedFields", "resourceVersion")
    }
    owners = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in obj["metadata"].get("managedFields", ())
    ]
    return {**obj, "metadata": metadata}, owners
