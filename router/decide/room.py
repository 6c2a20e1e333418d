"""Whether a request could go now, asked without deciding: for those who let requests wait."""

from typing import Protocol

from router.decide.demand import Demand
from router.decide.guard import is_full
from router.decide.outcome import Rejection, RejectionReason
from router.decide.question import Question
from router.decide.request_facts import RequestFacts


class Asked(Protocol):
    """What is asked; `router.decide.picker.Picker` fits."""

    def question(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Question | Rejection:
        """The candidates of a request, or why there are none; records nothing."""
        ...

    def demand(self, facts: RequestFacts, now_seconds: float) -> Demand:
        """The request in numbers."""
        ...

    def requests_per_second(self, model: str) -> float:
        """What the model's healthy replicas carry at their operating points."""
        ...


class Room:
    """Looks for room through the eyes of a picker."""

    __slots__ = ("_picker",)

    def __init__(self, picker: Asked) -> None:
        """Ask `picker`."""
        self._picker = picker

    def why_not(self, facts: RequestFacts, *, now_seconds: float) -> RejectionReason | None:
        """Why a request could not go now, or None when it could."""
        question = self._picker.question(facts, now_seconds=now_seconds, draw=0.5)
        if isinstance(question, Rejection):
            return question.reason
        return RejectionReason.FULL if all_full(question) else None

    def work_tokens(self, facts: RequestFacts, *, now_seconds: float) -> int:
        """Prompt and answer that are predicted for a request."""
        demand = self._picker.demand(facts, now_seconds)
        return round(demand.prompt_tokens + demand.output_tokens)

    def tokens_per_second(self, facts: RequestFacts, *, now_seconds: float) -> float:
        """What the fleet is predicted to work off of the request's model; 0 without a replica."""
        mix = self._picker.demand(facts, now_seconds).mix
        per_request = mix.prompt_tokens + mix.output_tokens
        return self._picker.requests_per_second(facts.model) * per_request


def all_full(question: Question) -> bool:
    """Whether the request would queue in the engine wherever it went."""
    demand, limit_ratio = question.demand, question.kv_limit_ratio
    # The least loaded first: the first one nearly always has room.
    return all(
        is_full(unit, demand, kv_limit_ratio=limit_ratio)
        for unit in question.pool.ranking().by_load()
        if not demand.restricted or demand.allows(unit.address)
    )
