"""The API's reference page, from the same schema that the API server gets."""

from collections.abc import Iterator
from typing import Any

from capper.api import API_VERSION, KIND
from capper.api.schema import custom_resource_definition

_HEAD = f"""# {KIND} ({API_VERSION})

Made from the models in `capper/api` by `python -m capper.api.generate`; a test compares the two.
Only `powerCapLimit` and one workload are needed. Ratios are parts of 1, not percent.
`headrace check FILE` tests a file against the same rules that the API server applies.
"""


def reference() -> str:
    """The page as Markdown: one table for every object, in the order in which they are met."""
    version = custom_resource_definition()["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    parts = [_HEAD]
    for root in ("spec", "status"):
        parts += list(_sections(root, properties[root]))
    return "\n".join(parts)


def _sections(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """The table of this object, then those of the objects in it."""
    lines = [f"## {path}", "", schema.get("description", ""), ""]
    lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
    required = set(schema.get("required", ()))
    for name, child in schema["properties"].items():
        default = "required" if name in required else _default(child)
        lines.append(f"| `{name}` | {_type(child)} | {default} | {child['description']} |")
    lines.append("")
    if rules := schema.get("x-kubernetes-validations"):
        lines += ["Rules:", "", *(f"- {rule['message']}" for rule in rules), ""]
    yield "\n".join(lines)
    for name, child in schema["properties"].items():
        inner = child.get("items", child)
        if "properties" in inner:
            yield from _sections(f"{path}.{name}" + ("[]" if "items" in child else ""), inner)


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default is None or default == [] or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "number or text"
    kind = str(schema.get("type", "object"))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind in {"number", "integer"}:
        return kind + _range(schema)
    return kind


def _range(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    words = []
    if low is not None:
        words.append(f"{'>' if schema.get('exclusiveMinimum') else '>='} {low:g}")
    if high is not None:
        words.append(f"{'<' if schema.get('exclusiveMaximum') else '<='} {high:g}")
    return f" ({', '.join(words)})" if words else ""
