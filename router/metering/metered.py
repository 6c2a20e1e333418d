"""A decider whose picks are metered. Pure.

Wraps the picker directly, inside whatever lets requests wait, so that every pick passes here in
the step that makes it.
"""

from router.decide.explain import Explanation
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.request_facts import RequestFacts, RequestHints
from router.extproc.decider import Decider, Waiting
from router.metering.completions import Completions
from router.metering.recorder import Recorder


class MeteredDecider:
    """Tells the recorder of picks, and holds back ends that only the access log knows."""

    __slots__ = ("_decider", "_recorder", "completions")

    def __init__(
        self, decider: Decider, recorder: Recorder, completions: Completions | None = None
    ) -> None:
        """Wrap `decider`; without `completions` a stream's end is the request's."""
        self._decider = decider
        self._recorder = recorder
        self.completions = completions

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        return self._decider.models()

    def pick(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Pick | Rejection | Waiting:
        """Decide and take note."""
        result = self._decider.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(result, Pick):
            self._recorder.picked(facts, result, now_seconds=now_seconds)
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
        """End a request, or await its access-log entry; False when it had ended before."""
        if ticket.settled:
            return False
        completions = self.completions
        if completions is not None and completions.holds(ticket, now_seconds=now_seconds):
            return True
        return self._decider.settle(ticket, now_seconds=now_seconds)

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why; records nothing."""
        return self._decider.explain(facts, now_seconds=now_seconds)
