"""One query of a user as one question to Prometheus, and the answer as one number with its age.

Value, age and number of series are asked for together, so that they are of one instant: asked one
after another, a scrape between them would give an old value a young age. Pure.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from capper.observe.selectors import selectors
from telemetry.query_answers import Row

_PART = "capper_part"
_GOT = re.compile(r"expected type instant vector.*?got (?P<type>scalar|string|range vector)")
_REFUSED = re.compile(r'parse error: (?P<why>.+?)"\}')
_SHOWN = 120


class Measured(NamedTuple):
    """A number from a query.

    Attributes:
        value: As it came.
        age_seconds: Of the oldest sample that it rests on.
        series: How many series the first selector has.
    """

    value: float
    age_seconds: float
    series: int


class UnusableError(Exception):
    """The query gave no number; the message is a whole sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One query.

    Attributes:
        text: PromQL that is to give one number.
        is_scalar: Whether it gives a scalar and not a vector.
    """

    text: str
    is_scalar: bool = False

    def promql(self) -> str:
        """What to send."""
        text = f"vector({self.text}\n)" if self.is_scalar else f"({self.text}\n)"
        parts = [_labelled(text, "value")]
        for number, selector in enumerate(selectors(self.text)):
            parts.append(_labelled(f"max(time() - timestamp({selector}))", f"age-{number}"))
            if number == 0:
                parts.append(_labelled(f"count({selector})", "series"))
        return " or ".join(parts)

    def measured(self, rows: Sequence[Row]) -> Measured:
        """The one number.

        Raises:
            UnusableError: There is none, or more than one: an element of a vector is never picked,
                and nothing is never 0.
        """
        values = [value for labels, value in rows if labels.get(_PART) == "value"]
        if not values:
            raise UnusableError(f"{self.shown} gives nothing now; nothing is not 0 W.")
        if len(values) > 1:
            raise UnusableError(
                f"{self.shown} gives {len(values)} series and must give one number;"
                " sum() or max() around it would."
            )
        if not math.isfinite(values[0]):
            raise UnusableError(f"{self.shown} gives {values[0]:g}, which is no number of watts.")
        ages = [value for labels, value in rows if labels.get(_PART, "").startswith("age-")]
        if selectors(self.text) and not ages:
            raise UnusableError(f"{self.shown} rests on no sample now; nothing is not 0 W.")
        counts = [value for labels, value in rows if labels.get(_PART) == "series"]
        return Measured(
            value=values[0],
            age_seconds=max((0.0, *ages)),
            series=int(max((0.0, *counts))),
        )

    @property
    def shown(self) -> str:
        """The query as messages show it: its beginning, on one line."""
        line = " ".join(self.text.split())
        return f"`{line if len(line) <= _SHOWN else line[: _SHOWN - 3] + '...'}`"

    def corrected(self, refusal: str) -> "Question":
        """The question to ask instead, after Prometheus refused this one.

        Raises:
            UnusableError: There is none.
        """
        found = _GOT.search(refusal)
        kind = found["type"] if found else ""
        if kind == "scalar" and not self.is_scalar:
            return Question(text=self.text, is_scalar=True)
        if kind == "string":
            raise UnusableError(f"{self.shown} gives text and must give one number.")
        if kind == "range vector":
            raise UnusableError(
                f"{self.shown} gives a range and must give one number; rate() around it would."
            )
        told = _REFUSED.search(refusal)
        why = told["why"].replace("\\", "").replace('"', "'") if told else refusal
        raise UnusableError(f"{self.shown} was refused: {why}.")


def _labelled(expr: str, part: str) -> str:
    return f'label_replace({expr}, "{_PART}", "{part}", "", "")'
