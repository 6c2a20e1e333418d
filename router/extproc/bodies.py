"""Request bodies as bytes: chunks that every Envoy takes, and a model name put in place. Pure."""

from collections.abc import Iterator

import msgspec

from router.extproc.events import Chunk, Phase

CHUNK_BYTES = 62_000
"""Some Envoys cap a streamed chunk at 64 KiB; the reference picker cuts here as well."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def chunks(phase: Phase, body: bytes, *, end_of_stream: bool) -> Iterator[Chunk]:
    """The body in order; an empty one is sent only where it ends the stream."""
    if len(body) <= CHUNK_BYTES:
        if body or end_of_stream:
            yield Chunk(phase, body, end_of_stream)
        return
    view = memoryview(body)
    for start in range(0, len(body), CHUNK_BYTES):
        part = view[start : start + CHUNK_BYTES]
        yield Chunk(phase, part, end_of_stream and start + CHUNK_BYTES >= len(body))


def with_model(body: bytes, model: str) -> bytes:
    """A JSON object whose field `model` is `model`; all other values keep their bytes.

    Args:
        body: An object that was read before (router.decide.request_facts.read_request).
        model: The name to put in.
    """
    fields = _fields.decode(body)
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)
