"""What a rule is and what can come of trying it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How binding a rule is."""

    MUST = "must"
    SHOULD = "should"
    ROBUSTNESS = "robustness"


class Source(StrEnum):
    """Where a rule comes from."""

    PICKER = "Endpoint Picker Protocol 1.0"
    EXT_PROC = "Envoy external processing"
    HEALTH = "gRPC health checking"
    PRACTICE = "practice of gateways and pickers"


class Verdict(StrEnum):
    """What came of a case."""

    PASS = "pass"  # noqa: S105 - no password
    WARNING = "warning"  # a rule of level SHOULD is not kept
    FAIL = "fail"
    SKIP = "skip"


class CaseFailedError(Exception):
    """The rule is not kept; the text says what was seen."""


class CaseSkippedError(Exception):
    """The rule cannot be tried here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What came of one case in one body mode.

    Attributes:
        name: Of the case.
        body_mode: The mode it ran in, or None when bodies play no part.
        level: How binding the rule is.
        source: Where the rule comes from.
        rule: The rule, a sentence.
        verdict: What came of it.
        reason: What was seen, unless it passed; else empty.
        duration_seconds: How long it took.
    """

    name: str
    body_mode: str | None
    level: Level
    source: Source
    rule: str
    verdict: Verdict
    reason: str
    duration_seconds: float


def count(results: Sequence[CaseResult], verdict: Verdict) -> int:
    """How many results have a verdict."""
    return sum(result.verdict is verdict for result in results)
