"""Other pickers that decide for the same requests' replicas: what they are told and asked.

Router processes that stand beside each other each have a picker. Each tells the others what it
does, and repeats what they did before it decides; `router.workers` is how.
"""

from collections.abc import Mapping
from typing import Protocol

from router.decide.commitment import Commitment
from router.decide.demand import Demand
from router.decide.ledger import Ticket
from router.decide.request_facts import RequestFacts


class Peers(Protocol):
    """The pickers beside this one. Own events are told in the call that makes them."""

    def catch_up(self, *, now_seconds: float) -> None:
        """Repeat, through `Picker.repeat` and its like, what the others did since."""
        ...

    def entered(
        self, ticket: Ticket, facts: RequestFacts, demand: Demand, *, now_seconds: float
    ) -> None:
        """A request was picked for `ticket.address`."""
        ...

    def served(
        self, ticket: Ticket, address: str, skipped: tuple[str, ...], *, now_seconds: float
    ) -> None:
        """It is served by `address`, known or not, and `skipped` were not to be reached."""
        ...

    def settled(self, ticket: Ticket, *, now_seconds: float) -> None:
        """It ended."""
        ...

    def is_led(self, *, now_seconds: float) -> bool:
        """Whether another one chooses the committed sets, and told them lately."""
        ...

    def committed(self, sets: Mapping[str, Commitment], *, now_seconds: float) -> None:
        """These sets were chosen here."""
        ...
