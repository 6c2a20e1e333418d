"""A request that waits, as the ext_proc shell sees it."""

import asyncio
from typing import Protocol

from router.admission.settings import AdmissionSettings
from router.admission.turns import Entry
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.request_facts import RequestFacts


class Host(Protocol):
    """Where it waits."""

    def withdraw(self, entry: Entry, *, now_seconds: float) -> None:
        """A client left."""
        ...

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """A pick that nobody took is over."""
        ...


class AdmittedRequest(Entry):
    """A request that waits; what the ext_proc shell is given in place of a pick.

    Attributes:
        limit_seconds: How long a decision may take; None: Envoy is not to be told.
    """

    __slots__ = ("_host", "_pick", "_result", "limit_seconds")

    def __init__(
        self,
        facts: RequestFacts,
        settings: AdmissionSettings,
        host: Host,
        *,
        work_tokens: int,
        now_seconds: float,
    ) -> None:
        """Wait from now on; must be made in the event loop."""
        wait_seconds = settings.max_wait_seconds
        super().__init__(
            facts,
            work_tokens=work_tokens,
            arrived_seconds=now_seconds,
            deadline_seconds=now_seconds + wait_seconds,
        )
        self.limit_seconds = wait_seconds if settings.extend_gateway_timeout else None
        self._host = host
        self._pick: Pick | None = None
        self._result: asyncio.Future[Pick | Rejection] = asyncio.get_running_loop().create_future()

    async def decided(self) -> Pick | Rejection:
        """The decision, which was made and entered in one step before this returns it."""
        return await self._result

    def withdraw(self, *, now_seconds: float) -> None:
        """The request is over; a pick that nobody took is settled."""
        self._host.withdraw(self, now_seconds=now_seconds)
        if self._pick is not None:
            self._host.settle(self._pick.ticket, now_seconds=now_seconds)
        self._result.cancel()

    def decide(self, result: Pick | Rejection) -> None:
        """Hand over the decision."""
        self._pick = result if isinstance(result, Pick) else None
        self._result.set_result(result)

    def fail(self, error: Exception) -> None:
        """Deciding has failed, by a defect: the stream that waits is to fail too."""
        self._result.set_exception(error)
