"""What the ext_proc shell asks of the decision."""

from typing import Protocol

from router.decide.explain import Explanation
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.request_facts import RequestFacts


class Decider(Protocol):
    """Pure and synchronous: deciding and recording happen in one call that gives no way."""

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        ...

    def pick(self, facts: RequestFacts, *, now_seconds: float, draw: float) -> Pick | Rejection:
        """Choose a replica and enter the request in the ledger, or refuse."""
        ...

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request; False when it was settled before."""
        ...

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why; records nothing."""
        ...
