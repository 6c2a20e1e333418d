"""Per-endpoint scores with every pick, for gateways and people that want to see them. Pure.

Off by default: scoring looks at every candidate, which a pick does not.
"""

import msgspec

from router.decide.explain import CandidateView, Explanation
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.request_facts import RequestFacts, RequestHints
from router.extproc.decider import Decider, Waiting

SCORES_KEY = "x-gateway-destination-endpoint-scores"
"""In the namespace envoy.lb: {"ip:port": score}, as proposed for the Endpoint Picker Protocol."""


class ScoredDecider:
    """Adds scores to the picks of the decider behind it."""

    __slots__ = ("_decider",)

    def __init__(self, decider: Decider) -> None:
        """Wrap `decider`."""
        self._decider = decider

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        return self._decider.models()

    def pick(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Pick | Rejection | Waiting:
        """Score as things stand just before, then decide."""
        explanation = self._decider.explain(facts, now_seconds=now_seconds)
        result = self._decider.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(result, Pick) and isinstance(explanation, Explanation):
            return msgspec.structs.replace(result, scores=scores(explanation))
        return result

    def pass_on(
        self, hints: RequestHints, *, now_seconds: float, draw: float
    ) -> tuple[str, ...] | Rejection:
        """Endpoints for a request without a prompt, best first."""
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


def scores(explanation: Explanation) -> dict[str, float]:
    """Above 0.5 the replicas that are to carry the load, up to 0.5 the others, 0 those excluded.

    Within each half: the fewest priced joules of it over a candidate's own.
    """
    halves: dict[bool, dict[str, float]] = {True: {}, False: {}}
    scored = dict.fromkeys((view.address for view in explanation.candidates), 0.0)
    for view in explanation.candidates:
        joules = _joules(view)
        if joules is not None:
            halves[view.committed][view.address] = joules
    for committed, half in halves.items():
        fewest = min(half.values(), default=0.0)
        for address, joules in half.items():
            ratio = fewest / joules if joules > 0.0 else 1.0
            scored[address] = 0.5 * (committed + ratio)
    return scored


def _joules(view: CandidateView) -> float | None:
    """Joules at the operating point; None for what is unhealthy, excluded or too late."""
    if view.verdict in _EXCLUDED or view.lateness_ratio > 1.0:
        return None
    return view.marginal_joules if view.merit_joules is None else view.merit_joules


_EXCLUDED = frozenset({"unhealthy", "domain sheds", "outside subset"})
