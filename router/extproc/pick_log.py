"""The last decisions, some of them explained, for people who ask why. Pure."""

from collections import Counter, OrderedDict, deque
from typing import Any, NamedTuple

import msgspec

from router.decide.explain import Explanation
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.request_facts import RequestFacts, RequestHints
from router.extproc.decider import Decider, Waiting

_CANDIDATES_PER_SECOND = 1000.0  # looked at by explanations, some 10 us each
_MOST_CANDIDATES = 20_000  # remembered of all explanations, some 300 bytes each


class PickRecord(NamedTuple):
    """One decision.

    Attributes:
        at_seconds: Monotonic time.
        facts: What was asked, without the prompt's blocks when there are many.
        result: What was decided.
        explanation: The candidates as they stood just before, when this one was sampled.
    """

    at_seconds: float
    facts: RequestFacts
    result: Pick | Rejection
    explanation: Explanation | Rejection | None

    def to_dict(self, *, now_seconds: float) -> dict[str, Any]:
        """As plain values, for JSON."""
        facts, result = self.facts, self.result
        described: dict[str, Any] = {
            "age_seconds": now_seconds - self.at_seconds,
            "model": facts.model,
            "api": facts.api.value,
            "stream": facts.stream,
            "prompt_bytes": facts.prompt_bytes,
            "prompt_tokens": facts.prompt_tokens,
            "max_output_tokens": facts.max_output_tokens,
            "priority": facts.hints.priority,
            "reason": result.reason.value,
        }
        if isinstance(result, Pick):
            described["address"] = result.address
            described["fallbacks"] = list(result.fallbacks)
            described["dynamic_joules"] = result.dynamic_joules
            described["in_flight"] = not result.ticket.settled
            described["served_by"] = result.ticket.address
            other = result.counterfactual
            if other is not None:
                described["counterfactual"] = msgspec.structs.asdict(other)
        if isinstance(self.explanation, Explanation):
            described["explanation"] = self.explanation.to_dict()
        return described


class PickLog:
    """A decider that remembers what the decider behind it decided.

    Every decision is kept, which costs one tuple; explanations are made at a bounded rate, lower
    for large fleets, since each looks at every candidate, and of them the newest 20,000 candidates
    are kept. A quiet router explains everything, a busy one a sample.

    Attributes:
        verdicts: Candidates of explained picks, counted by verdict.
    """

    __slots__ = (
        "_candidates",
        "_decider",
        "_explained",
        "_interval_seconds",
        "_next_seconds",
        "_number",
        "_records",
        "verdicts",
    )

    def __init__(
        self, decider: Decider, *, capacity: int = 1000, explained_per_second: float = 10.0
    ) -> None:
        """Wrap `decider`, keeping the last `capacity` decisions."""
        self._decider = decider
        self._records: deque[PickRecord] = deque(maxlen=capacity)
        self._number = 0  # of the newest record
        self._explained: OrderedDict[int, Explanation | Rejection] = OrderedDict()
        self._candidates = 0
        self._interval_seconds = 1.0 / explained_per_second
        self._next_seconds = float("-inf")
        self.verdicts: Counter[str] = Counter()

    @property
    def capacity(self) -> int:
        """How many decisions are kept."""
        return self._records.maxlen or 0

    def last(self, count: int) -> list[PickRecord]:
        """The newest `count` decisions, newest first."""
        numbers = range(self._number, self._number - count, -1)
        newest = zip(numbers, reversed(self._records), strict=False)
        return [one._replace(explanation=self._explained.get(number)) for number, one in newest]

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        return self._decider.models()

    def pick(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Pick | Rejection | Waiting:
        """Decide and remember; what is told to wait is remembered where it is decided."""
        explanation: Explanation | Rejection | None = None
        if now_seconds >= self._next_seconds:
            self._next_seconds = now_seconds + self._interval_seconds
            explanation = self._decider.explain(facts, now_seconds=now_seconds)
            if isinstance(explanation, Explanation):
                pause_seconds = len(explanation.candidates) / _CANDIDATES_PER_SECOND
                self._next_seconds = now_seconds + max(self._interval_seconds, pause_seconds)
                self.verdicts.update(view.verdict for view in explanation.candidates)
        result = self._decider.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(result, (Pick, Rejection)):
            self._number += 1
            self._records.append(PickRecord(now_seconds, facts.without_blocks(), result, None))
            if explanation is not None:
                self._remember(explanation)
        return result

    def pass_on(
        self, hints: RequestHints, *, now_seconds: float, draw: float
    ) -> tuple[str, ...] | Rejection:
        """Endpoints for a request without a prompt; not remembered."""
        return self._decider.pass_on(hints, now_seconds=now_seconds, draw=draw)

    def serve(self, pick: Pick, address: str, *, now_seconds: float) -> None:
        """Take note of the endpoint that really serves a pick."""
        self._decider.serve(pick, address, now_seconds=now_seconds)

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request."""
        return self._decider.settle(ticket, now_seconds=now_seconds)

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why; records nothing."""
        return self._decider.explain(facts, now_seconds=now_seconds)

    def _remember(self, explanation: Explanation | Rejection) -> None:
        """Of the newest record; the oldest go first."""
        explained = self._explained
        explained[self._number] = explanation
        self._candidates += _candidates(explanation)
        oldest_number = self._number - len(self._records)
        while explained and (
            self._candidates > _MOST_CANDIDATES or next(iter(explained)) <= oldest_number
        ):
            self._candidates -= _candidates(explained.popitem(last=False)[1])


def _candidates(explanation: Explanation | Rejection) -> int:
    return len(explanation.candidates) if isinstance(explanation, Explanation) else 0
