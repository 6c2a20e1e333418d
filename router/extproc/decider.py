"""What the ext_proc shell asks of the decision."""

from typing import Protocol

from router.decide.explain import Explanation
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.request_facts import RequestFacts, RequestHints


class Waiting(Protocol):
    """A request that may not go yet: what a decider returns instead of a pick.

    Attributes:
        limit_seconds: How long its decision may take, for Envoy to wait; None: Envoy is not told.
    """

    limit_seconds: float | None

    async def decided(self) -> Pick | Rejection:
        """The decision; a pick is entered in the ledger in the very step that makes it."""
        ...

    def withdraw(self, *, now_seconds: float) -> None:
        """The request is over before its decision was handed over: nothing of it may stay.

        Settles the ticket of a pick that was made and that nobody took, also when decided() has
        returned it: the stream may end in that very moment.
        """
        ...


class Decider(Protocol):
    """Synchronous: deciding and recording happen in one call that gives no way."""

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        ...

    def pick(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Pick | Rejection | Waiting:
        """Choose a replica and enter the request in the ledger, refuse, or let it wait."""
        ...

    def pass_on(
        self, hints: RequestHints, *, now_seconds: float, draw: float
    ) -> tuple[str, ...] | Rejection:
        """Endpoints for a request without a prompt, best first; records nothing."""
        ...

    def serve(self, pick: Pick, address: str, *, now_seconds: float) -> None:
        """Take note of the endpoint that really serves a pick."""
        ...

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request; False when it was settled before."""
        ...

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why; records nothing."""
        ...
