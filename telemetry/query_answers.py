"""What a Prometheus answers, and why it does not."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from telemetry.reading import FailureReason

_DETAIL_CHARACTERS = 300

Row = tuple[Mapping[str, str], float]
"""Labels and value of one series of an instant vector."""

LABELS = msgspec.json.Decoder(dict[str, str])
"""Of the labels as an answer has them."""


class EntryValue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When it was evaluated, and the value as text, which may be NaN."""

    epoch_seconds: float
    text: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The same as it came, nothing of it for the garbage collector to look at.

    Attributes:
        metric: Labels, as JSON text that is the same in every answer.
        value: See there.
    """

    metric: msgspec.Raw
    value: EntryValue

    def row(self) -> Row:
        """Labels and value.

        Raises:
            ValueError: They are not such.
        """
        return LABELS.decode(self.metric), float(self.value.text)


class Answer(NamedTuple):
    """An instant vector.

    Attributes:
        entries: Of each series.
        asked_epoch_seconds: When the question was sent: the answer is at least this old. Calendar
            time, because a cache may outlive and be shared beyond a process.
    """

    entries: Sequence[Entry]
    asked_epoch_seconds: float

    @property
    def rows(self) -> list[Row]:
        """Labels and value of each series.

        Raises:
            QueryError: One is no such thing.
        """
        try:
            return [entry.row() for entry in self.entries]
        except (msgspec.MsgspecError, ValueError) as error:
            raise malformed(error) from error


class RangeRow(NamedTuple):
    """One series of a range query.

    Attributes:
        labels: Of the series.
        points: Epoch seconds and value, in the order of time; values may be NaN.
    """

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class QueryError(Exception):
    """Prometheus did not answer a query.

    Attributes:
        reason: For the metrics.
    """

    def __init__(self, reason: FailureReason, detail: str) -> None:
        """Keep the beginning of `detail`: a proxy's error page can be long."""
        super().__init__(detail[:_DETAIL_CHARACTERS])
        self.reason = reason


def malformed(error: Exception) -> QueryError:
    """The answer could not be read."""
    return QueryError(
        FailureReason.MALFORMED, f"the answer is not of the kind asked for ({error!r})"
    )
