"""A request in the numbers that the decision compares. Pure."""

import msgspec

from fleet.physics import Mix
from router.decide.affinity_nearness import NOWHERE, Nearby, Nearness


class Demand(msgspec.Struct, frozen=True):
    """A request in the numbers that policies compare.

    Attributes:
        model: Name asked for.
        prompt_tokens: Estimated length of the prompt.
        output_tokens: Expected length of the answer(s).
        mix: The model's present mean request.
        ttft_objective_seconds: The request's own objective, or None: the backend's.
        tpot_objective_seconds: Likewise.
        sheddable: Whether it may be refused when no replica keeps the objective.
        subset: Addresses or hosts the pick is limited to, or None for all.
        avoided: Addresses that the data plane could not reach lately.
        refused: Addresses whose power domain takes no such request now.
        stalled: Addresses that take requests and end none.
        prefix_block_hashes: See `RequestFacts`.
        near: What it finds where; None: nothing special anywhere.
        session_home: Where its session was served last, or None.
    """

    model: str
    prompt_tokens: float
    output_tokens: float
    mix: Mix
    ttft_objective_seconds: float | None
    tpot_objective_seconds: float | None
    sheddable: bool
    subset: frozenset[str] | None
    avoided: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    stalled: frozenset[str] = frozenset()
    prefix_block_hashes: tuple[int, ...] = ()
    near: Nearby | None = None
    session_home: str | None = None

    def at(self, address: str) -> Nearness:
        """What it finds on a replica."""
        return NOWHERE if self.near is None else self.near.at(address)

    @property
    def resident_tokens(self) -> float:
        """KV tokens it will hold, on average over its life."""
        return self.prompt_tokens + 0.5 * self.output_tokens

    @property
    def left_out(self) -> frozenset[str]:
        """Addresses that it may not go to whatever its subset is."""
        return self.avoided | self.refused | self.stalled

    @property
    def restricted(self) -> bool:
        """Whether it may not go to every replica; nearly always False."""
        return (
            self.subset is not None
            or bool(self.avoided)
            or bool(self.refused)
            or bool(self.stalled)
        )

    def allows(self, address: str) -> bool:
        """Whether the subset and its domain admit a replica and it is not to be avoided."""
        return (
            admits(self.subset, address)
            and address not in self.avoided
            and address not in self.refused
            and address not in self.stalled
        )


def admits(subset: frozenset[str] | None, address: str) -> bool:
    """Whether a subset admits an address; an entry without a port means all its ports."""
    if subset is None or address in subset:
        return True
    host = address.rpartition(":")[0]
    return host in subset or host.strip("[]") in subset
