"""What workers tell each other, as MessagePack arrays with their kind in front. Pure.

A ticket is named by its number: the position in the writer's ring at which its entry stands, which
no other ticket of that ring ever has, restarts of the worker included.
"""

import msgspec

from router.decide.commitment import Commitment


class Entered(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=1):
    """A request was picked for a replica; where this record stands is the ticket's number.

    Attributes:
        address: The replica's.
        model: Name asked for.
        at_seconds: When; monotonic time, which all processes of a machine share.
        prompt_tokens: Estimated.
        output_tokens: Expected.
        prompt_bytes: Of the prompt as JSON.
        cached_tokens: Of the prompt, believed there and trusted.
        believed_tokens: The same before trust.
        load_seconds: What it waits for its adapter.
        session: Which it belongs to, or None.
        block_ratio: Part of the prompt that each hashed block is.
        block_hashes: Of its beginning; they mean something only under one hash key.
    """

    address: str
    model: str
    at_seconds: float
    prompt_tokens: float
    output_tokens: float
    prompt_bytes: int
    cached_tokens: float = 0.0
    believed_tokens: float = 0.0
    load_seconds: float = 0.0
    session: str | None = None
    block_ratio: float = 0.0
    block_hashes: tuple[int, ...] = ()


class Moved(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=2):
    """The data plane told who serves a request.

    Attributes:
        number: The ticket's.
        address: Who.
        skipped: Who was not to be reached before.
        at_seconds: When.
    """

    number: int
    address: str
    skipped: tuple[str, ...]
    at_seconds: float


class Ended(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=3):
    """A request ended.

    Attributes:
        number: The ticket's.
        at_seconds: When.
    """

    number: int
    at_seconds: float


class Gone(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=4):
    """The writer left, died or starts anew: all its tickets so far have ended."""


class Picture(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=5):
    """A list of the tickets entered before this record and still open begins; a reader asked."""


class Held(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=6):
    """One open ticket of a picture.

    Attributes:
        number: The ticket's.
        address: Where it runs.
        model: Name asked for.
        since_seconds: When it was entered.
        prompt_tokens: Estimated.
        output_tokens: Expected.
    """

    number: int
    address: str
    model: str
    since_seconds: float
    prompt_tokens: float
    output_tokens: float


class Complete(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=7):
    """The picture's end: what was entered before it and was not listed has ended."""


class Committed(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=8):
    """The set that is to carry a model's load, chosen by one process for all.

    Attributes:
        model: Whose.
        at_seconds: When.
        commitment: The set.
    """

    model: str
    at_seconds: float
    commitment: Commitment


Record = Entered | Moved | Ended | Gone | Picture | Held | Complete | Committed

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """A record as bytes."""
    return _encoder.encode(record)


def decode(payload: bytes) -> Record | None:
    """The record of these bytes; None when they are none."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
