"""What became of each replayed request, and the figures a run is judged by. Pure.

All instants are seconds on the replay's clock, which starts at 0 when the replay does.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class FailureKind(StrEnum):
    """Why a request has no complete answer."""

    CONNECTION = "connection"  # no connection, or it broke before the head of an answer
    STATUS = "status"  # the answer's status was not 200
    STREAM_ERROR = "stream_error"  # the stream carried an error event
    TRUNCATED = "truncated"  # the answer broke off, or its stream lacked `[DONE]`
    TIMEOUT = "timeout"  # the request's own time limit passed
    DEADLINE = "deadline"  # the replay's deadline passed before the request ended or started


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOutcome:
    """One request of a replay, measured by the client.

    Attributes:
        index: Position of its arrival in the replay.
        model: As asked for.
        prompt_tokens: As asked for; the engine's own count is `counted_prompt_tokens`.
        wanted_output_tokens: `max_tokens` of the request.
        streamed: Whether a stream of events was asked for.
        aborted: The client hung up on purpose after the first token.
        due_seconds: When it should have started.
        started_seconds: When it did; None when it never did.
        finished_seconds: When its answer ended or its failure was known; None: never started.
        status: HTTP status, None when no head of an answer came.
        failure: None when the answer is complete, or aborted on purpose.
        error: One line for a person to read; None without a failure.
        replica: Value of the response header that names the replica; None when absent.
        ttft_seconds: Start to first content; None when not streamed or no content came.
        tpot_seconds: (end - first content) / (output tokens - 1); None below two tokens, when not
            streamed and when incomplete.
        output_tokens: By the `usage` of the answer; None when it carried none.
        counted_prompt_tokens: By the same `usage`.
    """

    index: int
    model: str
    prompt_tokens: int
    wanted_output_tokens: int
    streamed: bool
    aborted: bool
    due_seconds: float
    started_seconds: float | None = None
    finished_seconds: float | None = None
    status: int | None = None
    failure: FailureKind | None = None
    error: str | None = None
    replica: str | None = None
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    output_tokens: int | None = None
    counted_prompt_tokens: int | None = None

    @property
    def schedule_lag_seconds(self) -> float | None:
        """How late the client itself started the request; its latencies exclude this."""
        if self.started_seconds is None:
            return None
        return self.started_seconds - self.due_seconds

    @property
    def e2e_seconds(self) -> float | None:
        """Start to end of a complete answer; None for failures and aborted requests."""
        if self.failure is not None or self.aborted:
            return None
        if self.started_seconds is None or self.finished_seconds is None:
            return None
        return self.finished_seconds - self.started_seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, derived ones included, ready for JSON."""
        return asdict(self) | {
            "schedule_lag_seconds": self.schedule_lag_seconds,
            "e2e_seconds": self.e2e_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyObjectives:
    """What a request must hold jointly. The defaults are the tight pair of the benchmark."""

    ttft_seconds: float = 1.0
    tpot_seconds: float = 0.05

    def attained(self, outcome: RequestOutcome) -> bool | None:
        """Whether `outcome` held both; None when it cannot be judged.

        A failed request missed. One of a single token, or aborted after its first, is judged by
        TTFT alone. Not to be judged: answers that were not streamed (no TTFT is seen), and those
        without content or `usage`.
        """
        if outcome.failure is not None:
            return False
        if outcome.ttft_seconds is None:
            return None
        in_time = outcome.ttft_seconds <= self.ttft_seconds
        if outcome.aborted or outcome.output_tokens == 1:
            return in_time
        if outcome.tpot_seconds is None:
            return None
        return in_time and outcome.tpot_seconds <= self.tpot_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Exact nearest-rank quantiles: each is a value that was measured. Unit: by the field's name.

    Attributes:
        count: How many values there were.
        p50: Median.
        p90: Ninth decile.
        p99: Of fewer than 100 values this is the largest.
        max: Largest.
    """

    count: int
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in figures; what cannot be told is None.

    Attributes:
        requests: All arrivals of the replay; the sum of the next three.
        completed: Complete answers.
        aborted: Hung up on purpose after the first token.
        failed: All others.
        failures_by_kind: `FailureKind` values with their counts; absent kinds did not occur.
        requests_by_replica: Answers (complete or aborted) by the replica that gave them, where the
            answer names one.
        duration_seconds: From the first due time to the last end.
        ttft_seconds: Of streamed answers with content, aborted ones included.
        tpot_seconds: Of complete streamed answers of two tokens and more.
        e2e_seconds: Of complete answers.
        schedule_lag_seconds: The client's own lateness: when it is not small beside the TTFT, the
            load was not the one asked for.
        prompt_tokens: Sum over complete answers, by `usage`.
        output_tokens: Sum over complete answers, by `usage`.
        output_tokens_per_second: The same over the duration.
        objectives: What attainment is measured against.
        judged: Requests that could be judged (`LatencyObjectives.attained`).
        attained: Those that held the objectives jointly.
        attainment_ratio: `attained / judged`.
        goodput_requests_per_second: `attained` over the duration.
        goodput_output_tokens_per_second: Output tokens of the attained over the duration.
    """

    requests: int
    completed: int
    aborted: int
    failed: int
    failures_by_kind: Mapping[str, int]
    requests_by_replica: Mapping[str, int]
    duration_seconds: float | None
    ttft_seconds: Quantiles | None
    tpot_seconds: Quantiles | None
    e2e_seconds: Quantiles | None
    schedule_lag_seconds: Quantiles | None
    prompt_tokens: int
    output_tokens: int
    output_tokens_per_second: float | None
    objectives: LatencyObjectives
    judged: int
    attained: int
    attainment_ratio: float | None
    goodput_requests_per_second: float | None
    goodput_output_tokens_per_second: float | None

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values by name, ready for JSON."""
        return asdict(self)


def nearest_rank(ordered: Sequence[float], *, percent: int) -> float:
    """The smallest value that at least `percent` of 100 of the values do not exceed.

    Args:
        ordered: Ascending, not empty.
        percent: 1..100, whole, so that the rank is exact where a ratio such as 0.07 is not.
    """
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1]


def quantiles(values: Iterable[float | None]) -> Quantiles | None:
    """Quantiles of the known values, None when there are none."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    return Quantiles(
        count=len(ordered),
        p50=nearest_rank(ordered, percent=50),
        p90=nearest_rank(ordered, percent=90),
        p99=nearest_rank(ordered, percent=99),
        max=ordered[-1],
    )


def summarise(
    outcomes: Sequence[RequestOutcome], *, objectives: LatencyObjectives | None = None
) -> Summary:
    """Figures of a whole replay, or of any part of it (one model, one replica)."""
    objectives = objectives or LatencyObjectives()
    failures = Counter(o.failure.value for o in outcomes if o.failure is not None)
    answered = [o for o in outcomes if o.failure is None]
    completed = [o for o in answered if not o.aborted]
    verdicts = [objectives.attained(o) for o in outcomes]
    attained = [o for o, held in zip(outcomes, verdicts, strict=True) if held]
    judged = sum(held is not None for held in verdicts)
    seconds = _duration_seconds(outcomes)
    output_tokens = sum(o.output_tokens or 0 for o in completed)
    return Summary(
        requests=len(outcomes),
        completed=len(completed),
        aborted=len(answered) - len(completed),
        failed=len(outcomes) - len(answered),
        failures_by_kind=dict(sorted(failures.items())),
        requests_by_replica=_by_replica(answered),
        duration_seconds=seconds,
        ttft_seconds=quantiles(o.ttft_seconds for o in answered),
        tpot_seconds=quantiles(o.tpot_seconds for o in answered),
        e2e_seconds=quantiles(o.e2e_seconds for o in completed),
        schedule_lag_seconds=quantiles(o.schedule_lag_seconds for o in outcomes),
        prompt_tokens=sum(o.counted_prompt_tokens or 0 for o in completed),
        output_tokens=output_tokens,
        output_tokens_per_second=_per_second(output_tokens, seconds),
        objectives=objectives,
        judged=judged,
        attained=len(attained),
        attainment_ratio=len(attained) / judged if judged else None,
        goodput_requests_per_second=_per_second(len(attained), seconds),
        goodput_output_tokens_per_second=_per_second(
            sum(o.output_tokens or 0 for o in attained), seconds
        ),
    )


def _by_replica(outcomes: Iterable[RequestOutcome]) -> dict[str, int]:
    return dict(sorted(Counter(o.replica for o in outcomes if o.replica is not None).items()))


def _duration_seconds(outcomes: Sequence[RequestOutcome]) -> float | None:
    ends = [o.finished_seconds for o in outcomes if o.finished_seconds is not None]
    if not ends:
        return None
    return max(ends) - min(o.due_seconds for o in outcomes)


def _per_second(amount: int, seconds: float | None) -> float | None:
    return amount / seconds if seconds else None
