"""From the models to a CustomResourceDefinition: a structural OpenAPI v3 schema."""

from copy import deepcopy
from typing import Any

from capper.api import GROUP, KIND, PLURAL, VERSION
from capper.api.config import Spec
from capper.api.rules import ApiModel, models_of
from capper.api.status import Status

_COLUMNS = (
    ("Mode", "string", ".spec.mode", "What the capper may do"),
    ("Cap", "string", ".spec.powerCapLimit", "Watts of the spec"),
    ("Effective", "number", ".status.effectiveCapWatts", "Watts in force"),
    ("Watts", "number", ".status.observedWatts", "Watts observed"),
    ("Band", "string", ".status.band", "Band of the whole"),
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status", "Whether it is in use"),
    ("Age", "date", ".metadata.creationTimestamp", "Since when it exists"),
)
_KEPT = {
    "anyOf",
    "default",
    "description",
    "enum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
}


def custom_resource_definition() -> dict[str, Any]:
    """The CRD of PowerCappingConfig."""
    status = structural_schema(Status)
    status["properties"]["conditions"] |= {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["pcc"],
                "categories": ["headrace"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": what}
                        for name, kind, path, what in _COLUMNS
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "Keeps LLM workloads under caps of power,"
                            " rack temperature and carbon.",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": structural_schema(Spec),
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


def structural_schema(model: type[ApiModel]) -> dict[str, Any]:
    """The model as the API server wants it: no references, nulls or titles, with CEL rules."""
    document = model.model_json_schema(by_alias=True)
    definitions = document.pop("$defs", {})
    rules = {item.__name__: _validations(item) for item in models_of(model)}
    # A deep copy: shared parts would be written as YAML anchors.
    return deepcopy(_structural(document | {"name": model.__name__}, definitions, rules))


def _validations(model: type[ApiModel]) -> list[dict[str, Any]]:
    return [
        {
            "rule": rule.cel,
            "message": f"{rule.field}: {rule.message}" if rule.field else rule.message,
        }
        for rule in model.rules
        if rule.cel is not None
    ]


def _structural(
    node: dict[str, Any], definitions: dict[str, Any], rules: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    node = _resolved(node, definitions)
    schema = {key: value for key, value in node.items() if key in _KEPT}
    _bounds(node, schema)
    # A block that was not given stays absent: the capper's own defaults are the same.
    if isinstance(schema.get("default", ...), dict | None):
        del schema["default"]
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "properties" in node:
        schema["properties"] = {
            name: _structural(child, definitions, rules)
            for name, child in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(
            node["additionalProperties"], definitions, rules
        )
        schema.pop("propertyNames", None)
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions, rules)
    if found := rules.get(node.get("name", "")):
        schema["x-kubernetes-validations"] = found
    return schema


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow $ref and drop the null of an optional field; what stands beside it wins."""
    beside = {key: value for key, value in node.items() if key not in {"anyOf", "$ref"}}
    if "x-kubernetes-int-or-string" in node:
        return node
    if "anyOf" in node:
        (only,) = [part for part in node["anyOf"] if part.get("type") != "null"]
        return _resolved(only, definitions) | beside
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        return _resolved(definitions[name], definitions) | {"name": name} | beside
    return node


def _bounds(node: dict[str, Any], schema: dict[str, Any]) -> None:
    """OpenAPI 3.0 says exclusive bounds by a flag beside the bound."""
    for name in ("minimum", "maximum"):
        exclusive = "exclusive" + name.capitalize()
        if exclusive in node:
            schema[name] = node[exclusive]
            schema[exclusive] = True
