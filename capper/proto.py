"""Protobuf messages from our own description of their fields, built when imported. Pure."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _Field.TYPE_BOOL,
    "double": _Field.TYPE_DOUBLE,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
}
Fields = tuple[tuple[int, str, str], ...]


def message_classes(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """Classes by name.

    Args:
        package: Protobuf package.
        messages: Name -> (number, field, type); a type that is no scalar is a message of the same
            package, "*" before it means repeated; "map" is one of text to text.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            is_map = kind == "map"
            plain = f"*{name}.{_add_map_entry(message, field)}" if is_map else kind
            _add_field(message, package, number, field, plain)
    # A pool of its own: a program that also holds generated code is not disturbed.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def _add_map_entry(message: descriptor_pb2.DescriptorProto, field: str) -> str:
    """What `map<string, string>` is on the wire: a nested message of key and value; its name."""
    entry = message.nested_type.add(name=f"{field[0].upper()}{field[1:]}Entry")
    entry.options.map_entry = True
    _add_field(entry, "", 1, "key", "string")
    _add_field(entry, "", 2, "value", "string")
    return str(entry.name)


def _add_field(
    message: descriptor_pb2.DescriptorProto, package: str, number: int, name: str, kind: str
) -> None:
    many, scalar = kind.startswith("*"), _TYPES.get(kind.removeprefix("*"))
    added = message.field.add(
        name=name,
        number=number,
        label=_Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL,
        type=_Field.TYPE_MESSAGE if scalar is None else scalar,
    )
    if scalar is None:
        added.type_name = f".{package}.{kind.removeprefix('*')}"


def codec(request: Any) -> tuple[Any, Any]:
    """(how a request is read, how an answer is written), for a method of a gRPC service."""
    return request.FromString, serialized


def serialized(message: Any) -> bytes:
    """A message as it goes over the wire."""
    return bytes(message.SerializeToString())
