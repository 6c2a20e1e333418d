"""The part of kustomize that k8s/ uses, for machines without the program.

Resources, components, namespace, labels (not in selectors), images, strategic merge patches from a
file with a target, ConfigMaps of files under their own names. Anything else in a kustomization is
an error, so that nothing is left out in silence. Where kubectl or kustomize is there,
tests/unit/test_k8s_manifests.py compares the two.
"""

import copy
import shutil
import subprocess

import yaml

CLUSTER_KINDS = frozenset(
    {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "GatewayClass"}
)
# Lists that a strategic merge patch merges by a key; all others are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
_KNOWN = frozenset(
    {
        *("apiVersion", "kind", "resources", "components", "namespace", "labels", "images"),
        *("patches", "configMapGenerator", "generatorOptions"),
    }
)
_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def kustomize_command():
    """The program that renders a folder, or None."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def rendered_by_kustomize(folder):
    """Objects by identity, as the program renders them."""
    text = subprocess.run(
        [*kustomize_command(), str(folder)], check=True, capture_output=True, text=True
    ).stdout
    return {identity(obj): obj for obj in yaml.load_all(text, _loader)}


def rendered(folder, *, namespace=None):
    """Objects by identity; a namespace takes the place of all that the files say."""
    objects = _built(folder, {})
    if namespace is not None:
        objects = _into_namespace(objects, namespace)
    return {identity(obj): obj for obj in objects.values()}


def identity(obj):
    """(kind, namespace, name)."""
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace", ""), metadata["name"]


def documents(path):
    """All objects of a file."""
    return [one for one in yaml.load_all(path.read_text(encoding="utf-8"), _loader) if one]


def _built(folder, objects):
    """The objects of a kustomization; a component also changes those that were there before."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    unknown = set(kustomization) - _KNOWN
    assert not unknown, f"{folder}: {', '.join(sorted(unknown))} is not in the subset"
    objects = _gathered(kustomization, folder, objects)
    for patch in kustomization.get("patches", ()):
        objects = _patched(objects, patch, folder)
    if "namespace" in kustomization:
        objects = _into_namespace(objects, kustomization["namespace"])
    for labels in kustomization.get("labels", ()):
        assert set(labels) == {"pairs"}, f"{folder}: labels in selectors are not in the subset"
        objects = {key: _labelled(obj, labels["pairs"]) for key, obj in objects.items()}
    for image in kustomization.get("images", ()):
        objects = {key: _with_image(obj, image) for key, obj in objects.items()}
    return objects


def _gathered(kustomization, folder, objects):
    """Resources, what is generated, then the components over both."""
    objects = dict(objects)
    for name in kustomization.get("resources", ()):
        path = folder / name
        if path.is_dir():
            found = _built(path, {})
        else:
            found = {identity(one): one for one in documents(path)}
        twice = objects.keys() & found.keys()
        assert not twice, f"{path}: {sorted(twice)} is there already"
        objects |= found
    for made in kustomization.get("configMapGenerator", ()):
        one = _config_map(made, folder, kustomization["generatorOptions"])
        objects[identity(one)] = one
    for name in kustomization.get("components", ()):
        objects = _built(folder / name, objects)
    return objects


def _config_map(made, folder, options):
    assert set(made) == {"name", "files"}, f"{folder}: ConfigMaps of files only"
    assert options["disableNameSuffixHash"], f"{folder}: hashes are not in the subset"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": made["name"], "labels": dict(options.get("labels", {}))},
        "data": {name: (folder / name).read_text(encoding="utf-8") for name in made["files"]},
    }


def _patched(objects, patch, folder):
    (change,) = documents(folder / patch["path"])
    target = patch["target"]
    assert set(target) == {"kind", "name"}, f"{folder}: target by kind and name only"
    chosen = [key for key in objects if (key[0], key[2]) == (target["kind"], target["name"])]
    assert chosen, f"{folder}: {patch['path']} has no target"
    change = {key: value for key, value in change.items() if key not in {"apiVersion", "kind"}}
    return {key: _merged(obj, change, ()) if key in chosen else obj for key, obj in objects.items()}


def _merged(value, change, path):
    if isinstance(value, dict) and isinstance(change, dict):
        result = dict(value)
        for key, part in change.items():
            if part is None:
                result.pop(key, None)
            else:
                result[key] = _merged(value[key], part, (*path, key)) if key in value else part
        return result
    key = _MERGE_KEYS.get(path[-1]) if path and "template" in path else None
    if key is None or not isinstance(change, list):
        return copy.deepcopy(change)
    known = {one[key]: one for one in value}
    changes = {one[key]: one for one in change}
    new = [one for name, one in changes.items() if name not in known]  # kustomize puts them first
    return new + [
        _merged(one, changes[name], path[:-1]) if name in changes else one
        for name, one in known.items()
    ]


def _into_namespace(objects, namespace):
    accounts = {key[2] for key in objects if key[0] == "ServiceAccount"}
    moved = {}
    for obj in copy.deepcopy(objects).values():
        if obj["kind"] == "Namespace":
            obj["metadata"]["name"] = namespace
        elif obj["kind"] not in CLUSTER_KINDS:
            obj["metadata"]["namespace"] = namespace
        for subject in obj.get("subjects", ()):
            if subject["kind"] == "ServiceAccount" and subject["name"] in accounts:
                subject["namespace"] = namespace
        moved[identity(obj)] = obj
    return moved


def _labelled(obj, pairs):
    obj = copy.deepcopy(obj)
    obj["metadata"].setdefault("labels", {}).update(pairs)
    return obj


def _with_image(obj, image):
    obj = copy.deepcopy(obj)
    for container in containers(obj):
        name, _, tag = container["image"].partition(":")
        if name == image["name"]:
            tag = image.get("newTag", tag)
            container["image"] = image.get("newName", name) + (f":{tag}" if tag else "")
    return obj


def containers(obj):
    """All containers of the pod templates of an object, wherever they lie."""
    found = []
    if isinstance(obj, dict):
        for key, value in obj.items():
            if key in {"containers", "initContainers"} and isinstance(value, list):
                found += [one for one in value if "image" in one]
            else:
                found += containers(value)
    elif isinstance(obj, list):
        for value in obj:
            found += containers(value)
    return found
