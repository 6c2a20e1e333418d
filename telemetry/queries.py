"""PromQL for every signal; `telemetry.series` makes samples of the answers.

Value and age come from one query, evaluated at one instant: asked separately, a scrape between the
two would pair an old value with a young age. `timestamp()` gives the scrape's time only for a plain
selector (checked on Prometheus 2.42); of any other expression, `a or b` included, it gives the
evaluation's, so the alternatives are joined by `or` outside of it.
"""

from dataclasses import dataclass, field, replace
from itertools import groupby

from fleet.signals import SignalKind
from telemetry.families import FAMILIES, Family
from telemetry.fleet_index import LabelNames

PART_LABEL = "headrace_part"
"""Tells the alternatives' values and ages apart: "value-0", "age-0", "value-1"."""

_UP = Family(
    SignalKind.HEALTHY_RATIO, 0, "up", partition=("job", "instance", "endpoint", "container")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One instant query: one signal, from the first of several families that has it.

    Attributes:
        kind: What it asks for.
        families: In order of preference; `selector` may be any PromQL that gives an instant
            vector. Of anything but a plain selector the age is unknown and taken as zero.
    """

    kind: SignalKind
    families: tuple[Family, ...]

    def promql(self) -> str:
        """The text to send."""
        return " or ".join(
            f'label_replace({expression}, "{PART_LABEL}", "{part}-{family.rank}", "__name__", ".*")'
            for family in self.families
            for part, expression in (("value", _value_of(family)), ("age", _age_of(family)))
        )


def _value_of(family: Family) -> str:
    if not family.summed:
        return f"({family.selector})"
    return f"sum without ({', '.join(family.summed)}) ({family.selector})"


def _age_of(family: Family) -> str:
    """Of the oldest, where several are summed."""
    age = f"time() - timestamp({family.selector})"
    return f"max without ({', '.join(family.summed)}) ({age})" if family.summed else age


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySet:
    """All queries of one round and how their labels name replicas."""

    queries: tuple[Query, ...]
    labels: LabelNames = field(default_factory=LabelNames)

    def overridden(self, kind: SignalKind, *selectors: str, scale: float = 1.0) -> "QuerySet":
        """This set with own texts for one signal, the most trusted first; none removes it.

        Series of one replica that differ in `engine` or `model_name` are summed (or combined as
        the kind demands), all others are taken as duplicates.
        """
        families = tuple(
            Family(kind, rank, selector, scale, ("engine", "model_name"))
            for rank, selector in enumerate(selectors)
        )
        kept = tuple(query for query in self.queries if query.kind is not kind)
        added = (Query(kind=kind, families=families),) if families else ()
        return replace(self, queries=kept + added)


def default_queries(matchers: str = "") -> QuerySet:
    """Every known family, and `up` for health.

    Args:
        matchers: Label matchers put into every selector, for a Prometheus that serves more than
            this fleet: `cluster="a",namespace="llm"`.
    """
    suffix = f"{{{matchers}}}" if matchers else ""
    return QuerySet(
        queries=tuple(
            Query(
                kind=kind,
                families=tuple(
                    family._replace(selector=family.selector + suffix) for family in families
                ),
            )
            for kind, families in groupby((_UP, *FAMILIES), key=lambda family: family.kind)
        )
    )
