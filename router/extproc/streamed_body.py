"""A ProcessingResponse that carries a part of a streamed body, written around the part. Pure.

protobuf copies a part three times: into a message, out of it when it is serialized, and before that
out of the body that it is a part of. Around the part stands only a tag and a length per level, so
here it is copied once. Field numbers come from the descriptors of the message types.
"""

from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    ProcessingResponse,
    StreamedBodyResponse,
)
from google.protobuf.descriptor import FieldDescriptor

from router.extproc.events import Phase

_CONTINUATION_BIT = 0x80
_SEVEN_BITS = 0x7F
_VARINT, _LENGTH_DELIMITED = 0, 2  # wire types
_TYPE_BITS = 3


def streamed_body(phase: Phase, part: bytes | memoryview, *, end_of_stream: bool) -> bytes:
    """The serialized answer in which `part` goes on."""
    tail = _LAST if end_of_stream else b""
    head = _BODY + _varint(len(part)) if part else b""
    size = len(head) + len(part) + len(tail)
    for tag in (*_AROUND, _PHASES[phase]):
        level = tag + _varint(size)
        head = level + head
        size += len(level)
    return b"".join((head, part, tail))


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, all but the last byte with the highest bit set."""
    encoded = bytearray()
    while number > _SEVEN_BITS:
        encoded.append(number & _SEVEN_BITS | _CONTINUATION_BIT)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _tag(field: FieldDescriptor, wire_type: int = _LENGTH_DELIMITED) -> bytes:
    return _varint(field.number << _TYPE_BITS | wire_type)


_STREAMED = StreamedBodyResponse.DESCRIPTOR.fields_by_name
_BODY = _tag(_STREAMED["body"])
_LAST = _tag(_STREAMED["end_of_stream"], _VARINT) + _varint(1)
_AROUND = (
    _tag(BodyMutation.DESCRIPTOR.fields_by_name["streamed_response"]),
    _tag(CommonResponse.DESCRIPTOR.fields_by_name["body_mutation"]),
    _tag(BodyResponse.DESCRIPTOR.fields_by_name["response"]),
)
_PHASES = {
    phase: _tag(ProcessingResponse.DESCRIPTOR.fields_by_name[phase.value])
    for phase in (Phase.REQUEST_BODY, Phase.RESPONSE_BODY)
}
