"""Typed reading of a provider's JSON; an error in the body is told from an answer. Pure."""

from typing import Any, TypeVar

import msgspec

from telemetry.carbon.calendar_times import epoch_seconds
from telemetry.carbon.failures import FeedError, FeedFailure

_Answer = TypeVar("_Answer")


class _ErrorBody(msgspec.Struct):
    error: Any = None
    message: Any = None
    data: Any = None
    zone: Any = None
    token: Any = None


def decoded(body: bytes, form: type[_Answer], source: str) -> _Answer:
    """The answer in its documented form.

    Raises:
        FeedError: It has another form.
    """
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FeedError(
            FeedFailure.MALFORMED, f"{source}: the answer has not the documented form: {error}."
        ) from error


def error_words(body: bytes) -> str | None:
    """What a JSON body says under `error` or `message`; None: neither is there, or it is an answer.

    Answers are told by their `data`, `zone` or `token`.
    """
    try:
        found = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if any(part is not None for part in (found.data, found.zone, found.token)):
        return None
    said = found.error if found.error is not None else found.message
    if isinstance(said, dict):
        said = said.get("message") or said.get("code")
    return None if said is None else " ".join(str(said).split()).rstrip(".")[:200]


def answered_time(text: str, source: str) -> float:
    """A time of an answer as epoch seconds.

    Raises:
        FeedError: It is none.
    """
    try:
        return epoch_seconds(text)
    except ValueError as error:
        raise FeedError(FeedFailure.MALFORMED, f"{source}: {error}.") from error
