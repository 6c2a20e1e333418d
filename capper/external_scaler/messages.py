"""The messages of KEDA's external scaler protocol, from our own description of their fields.

Wire compatible with package `externalscaler` of KEDA (field numbers as in its documentation of the
external scaler). Described here and built when imported: there is no generated code to keep.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "externalscaler"
SERVICE = f"{PACKAGE}.ExternalScaler"

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _Field.TYPE_BOOL,
    "double": _Field.TYPE_DOUBLE,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
}
# Message -> (number, name, type); a type that is no scalar is a message, "*" means repeated.
_MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "ScaledObjectRef": (
        (1, "name", "string"),
        (2, "namespace", "string"),
        (3, "scalerMetadata", "*ScaledObjectRef.ScalerMetadataEntry"),
    ),
    "IsActiveResponse": ((1, "result", "bool"),),
    "MetricSpec": (
        (1, "metricName", "string"),
        (2, "targetSize", "int64"),
        (3, "targetSizeFloat", "double"),
    ),
    "GetMetricSpecResponse": ((1, "metricSpecs", "*MetricSpec"),),
    "GetMetricsRequest": ((1, "scaledObjectRef", "ScaledObjectRef"), (2, "metricName", "string")),
    "MetricValue": (
        (1, "metricName", "string"),
        (2, "metricValue", "int64"),
        (3, "metricValueFloat", "double"),
    ),
    "GetMetricsResponse": ((1, "metricValues", "*MetricValue"),),
}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="headrace/externalscaler.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            _add_field(message, number, field, kind)
        if name == "ScaledObjectRef":
            # What `map<string, string>` is on the wire.
            entry = message.nested_type.add(name="ScalerMetadataEntry")
            entry.options.map_entry = True
            _add_field(entry, 1, "key", "string")
            _add_field(entry, 2, "value", "string")
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, number: int, name: str, kind: str) -> None:
    many, kind = kind.startswith("*"), kind.removeprefix("*")
    field = message.field.add(
        name=name,
        number=number,
        label=_Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL,
    )
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


# A pool of our own: a program that also holds KEDA's generated code is not disturbed.
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_describe())

ScaledObjectRef = _message_class("ScaledObjectRef")
IsActiveResponse = _message_class("IsActiveResponse")
MetricSpec = _message_class("MetricSpec")
GetMetricSpecResponse = _message_class("GetMetricSpecResponse")
GetMetricsRequest = _message_class("GetMetricsRequest")
MetricValue = _message_class("MetricValue")
GetMetricsResponse = _message_class("GetMetricsResponse")
