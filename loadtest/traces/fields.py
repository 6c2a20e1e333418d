"""Fields of a trace: token counts and instants. Pure but for the type of its errors.

Instants are whole nanoseconds: a float of epoch seconds no longer tells 100 ns apart.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from functools import lru_cache
from pathlib import Path

from loadtest.traces.errors import TraceError, shown

NANOSECONDS_PER_SECOND = 1_000_000_000
MAX_TOKENS = 999_999_999
"""More is no token count."""

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_MAX_TOKEN_DIGITS = 9
_MAX_NUMBER_CHARACTERS = 40
# Beyond any clock (30,000 years), so that absurd exponents are not expanded.
_MAX_NANOSECONDS = Decimal(10) ** 21


def tokens(path: Path, line: int, column: str, text: str) -> int:
    """A token count, 0 and more.

    Raises:
        TraceError: The text is not a whole number, is negative or absurd.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_TOKEN_DIGITS):
        raise TraceError(
            path, line, f"{column} is {shown(text)}, it must be a whole number of 0 and more"
        )
    return int(digits)


def date_time_nanoseconds(path: Path, line: int, column: str, text: str) -> int:
    """Nanoseconds since 1970 of `2023-11-16 18:15:46.6805900`; a time without a zone is UTC.

    Raises:
        TraceError: The text is not such a time.
    """
    found = _date_time_nanoseconds(text.strip())
    if found is None:
        raise TraceError(
            path, line, f"{column} {shown(text)} is not a time like '2023-11-16 18:15:46.6805900'"
        )
    return found


def number_nanoseconds(
    path: Path, line: int, column: str, text: str, *, unit_nanoseconds: int
) -> int:
    """A decimal number of units as nanoseconds.

    Raises:
        TraceError: The text is not a number, or beyond any clock.
    """
    found = _number_nanoseconds(text.strip(), unit_nanoseconds)
    if found is None:
        raise TraceError(path, line, f"{column} is {shown(text)}, it must be a number")
    return found


def instant_nanoseconds(
    path: Path, line: int, column: str, text: str, *, unit_nanoseconds: int
) -> int:
    """A date and time as `date_time_nanoseconds` reads it, or else a number of units.

    Raises:
        TraceError: The text is neither.
    """
    found = _date_time_nanoseconds(text.strip())
    if found is None:
        found = _number_nanoseconds(text.strip(), unit_nanoseconds)
    if found is None:
        raise TraceError(
            path,
            line,
            f"{column} is {shown(text)}, it must be a number or a time like "
            "'2023-11-16 18:15:46.6805900'",
        )
    return found


def _date_time_nanoseconds(text: str) -> int | None:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        seconds = _epoch_seconds(f"{day}T{clock}{zone or ''}")
    except ValueError:
        return None
    return seconds * NANOSECONDS_PER_SECOND + int((fraction or "").ljust(9, "0"))


@lru_cache(maxsize=4)  # neighbours share their second
def _epoch_seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def _number_nanoseconds(text: str, unit_nanoseconds: int) -> int | None:
    if not text.isascii() or len(text) > _MAX_NUMBER_CHARACTERS:
        return None
    try:
        amount = Decimal(text) * unit_nanoseconds
    except DecimalException:
        return None
    return round(amount) if amount.is_finite() and abs(amount) < _MAX_NANOSECONDS else None
