"""Calendar times of providers and files to and from epoch seconds; reads no clock."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def epoch_seconds(text: str) -> float:
    """RFC 3339 (seconds may be missing, as UK Carbon Intensity leaves them out) to epoch seconds.

    Raises:
        ValueError: No such time, or one without an offset from UTC.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no RFC 3339 time") from error
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC, write for example {text.strip()}Z")
    return time.timestamp()


def minute_text(epoch: float) -> str:
    """Epoch seconds as the providers want them in questions, "2018-01-20T12:00Z"."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%MZ")


def wait_seconds(retry_after: str | None, *, now_epoch_seconds: float) -> float | None:
    """The header Retry-After (seconds or an HTTP date); None where it says nothing usable."""
    text = (retry_after or "").strip()
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, until.timestamp() - now_epoch_seconds)
