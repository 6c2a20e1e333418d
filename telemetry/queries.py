"""PromQL for every signal, and samples from the answers.

Value and age come from one query, evaluated at one instant: asked separately, a scrape between the
two would pair an old value with a young age. `timestamp()` gives the scrape's time only for a plain
selector (checked on Prometheus 2.42); of any other expression, `a or b` included, it gives the
evaluation's, so the alternatives are joined by `or` outside of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from fleet.signals import SignalKind
from telemetry.attribution import LabelNames, Sample
from telemetry.families import FAMILIES, Family

_PART = "headrace_part"  # label that tells the alternatives' values and ages apart
_UP = Family(
    SignalKind.HEALTHY_RATIO, 0, "up", partition=("job", "instance", "endpoint", "container")
)

Row = tuple[Mapping[str, str], float]
"""Labels and value of one series of an instant vector."""


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
            f'label_replace({expression}, "{_PART}", "{part}-{family.rank}", "__name__", ".*")'
            for family in self.families
            for part, expression in (
                ("value", f"({family.selector})"),
                ("age", f"time() - timestamp({family.selector})"),
            )
        )

    def samples(self, rows: Sequence[Row], *, evaluated_seconds: float) -> Iterator[Sample]:
        """Pair values with their ages.

        Args:
            rows: The answer to `promql()`.
            evaluated_seconds: Monotonic time at which Prometheus evaluated it, at the earliest.
        """
        families = {str(family.rank): family for family in self.families}
        ages: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        values: list[tuple[tuple[str, frozenset[tuple[str, str]]], float]] = []
        for labels, value in rows:
            part, _, rank = labels.get(_PART, "").partition("-")
            series = frozenset(
                item for item in labels.items() if item[0] not in ("__name__", _PART)
            )
            if part == "age":
                ages[rank, series] = value
            elif part == "value" and rank in families:
                values.append(((rank, series), value))
        for key, value in values:
            age_seconds = ages.get(key)
            if age_seconds is not None:
                observed_seconds = evaluated_seconds - max(age_seconds, 0.0)
                yield Sample(families[key[0]], dict(key[1]), value, observed_seconds)


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
