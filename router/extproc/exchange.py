"""What the session tells of a routed request's response, to those who meter it."""

from collections.abc import Mapping
from typing import Protocol

from router.decide.ledger import Ticket


class ExchangeObserver(Protocol):
    """Called in the stream's order; must not block. The end is the ledger's `settled`."""

    def routed(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """A request was picked for; `headers` are those of hints.READ_HEADERS that it had."""
        ...

    def response_started(
        self,
        ticket: Ticket,
        *,
        status: int,
        content_type: str,
        content_encoding: str,
        now_seconds: float,
    ) -> None:
        """Response headers came; `status` is 0 when it was not told."""
        ...

    def response_chunk(self, ticket: Ticket, data: bytes, *, now_seconds: float) -> None:
        """A part of the response's body came; it is sent on as it is."""
        ...

    def metadata(self, ticket: Ticket, *, now_seconds: float) -> Mapping[str, str | float] | None:
        """What Envoy's access log is to say; asked with the response's last message."""
        ...


class NoObserver:
    """Looks at nothing."""

    def routed(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """Nothing."""

    def response_started(
        self,
        ticket: Ticket,
        *,
        status: int,
        content_type: str,
        content_encoding: str,
        now_seconds: float,
    ) -> None:
        """Nothing."""

    def response_chunk(self, ticket: Ticket, data: bytes, *, now_seconds: float) -> None:
        """Nothing."""

    def metadata(self, ticket: Ticket, *, now_seconds: float) -> Mapping[str, str | float] | None:
        """Nothing to say."""


NO_OBSERVER = NoObserver()
