"""What a request finds on one replica that it would not find on another."""

from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol


class Nearness(NamedTuple):
    """Of one request to one replica.

    Attributes:
        cached_tokens: Prompt tokens that need not be computed, as far as they are trusted.
        believed_tokens: The same before trust.
        load_seconds: What it waits for its LoRA adapter.
    """

    cached_tokens: float = 0.0
    believed_tokens: float = 0.0
    load_seconds: float = 0.0


NOWHERE = Nearness()


class Nearby(Protocol):
    """Of one request to every replica, looked up where it is asked for."""

    def at(self, address: str) -> Nearness:
        """To one replica."""
        ...

    def beyond(self, here: Nearness) -> AbstractSet[str]:
        """Addresses among which are all that have more of the prompt, or less to load."""
        ...
