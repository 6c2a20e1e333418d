"""What a decision can be: a pick, or a "no" that is a value and not an exception."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from router.decide.affinity_sessions import SessionVerdict
from router.decide.ledger import Ticket


class PickReason(StrEnum):
    """Why this replica and no other."""

    COMMITTED = "committed"  # best merit among the committed replicas that pass the guard
    OPENED = "opened"  # the committed were full: the next replica in merit order was opened
    LEAST_LATE = "least_late"  # no guard passes: least late, or where fewest others are
    DEGRADED = "degraded"  # no telemetry at all: least in flight
    POLICY = "policy"  # a baseline policy's own rule


class Counterfactual(msgspec.Struct, frozen=True, gc=False):
    """What least-request would have done with the same request at the same moment.

    Attributes:
        address: Its pick.
        dynamic_joules: Energy above idle that the request is predicted to take there.
    """

    address: str
    dynamic_joules: float


class Pick(msgspec.Struct, frozen=True):
    """The chosen replica.

    Attributes:
        address: "ip:port".
        reason: Why.
        ticket: The ledger's entry, to be settled exactly once when the request ends.
        dynamic_joules: Energy above idle that the request is predicted to take there.
        counterfactual: The baseline that savings are shown against.
        fallbacks: Where to go when `address` cannot be reached, best first.
        model_rewrite: The model that the replica is to be asked for instead, or None.
        candidates: How many replicas could have been picked, or None when not told.
        scores: From 0 to 1 by address, for those who asked for them.
        cached_tokens: Prompt tokens that the replica is predicted to have cached.
        session: What became of the request's session; None without one.
    """

    address: str
    reason: PickReason
    ticket: Ticket
    dynamic_joules: float
    counterfactual: Counterfactual | None = None
    fallbacks: tuple[str, ...] = ()
    model_rewrite: str | None = None
    candidates: int | None = None
    scores: Mapping[str, float] | None = None
    cached_tokens: float = 0.0
    session: SessionVerdict | None = None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The address and its fallbacks, in the order in which they are to be tried."""
        return (self.address, *self.fallbacks)


class RejectionReason(StrEnum):
    """The closed list of refusals; the shell maps each to one HTTP status."""

    BAD_REQUEST = "bad_request"
    FULL = "full"
    MODEL_NOT_FOUND = "model_not_found"
    NO_HEALTHY_REPLICA = "no_healthy_replica"
    NO_REPLICA_IN_TIME = "no_replica_in_time"
    NO_ROOM_IN_TIME = "no_room_in_time"
    QUEUE_FULL = "queue_full"
    SHED = "shed"
    SHUTTING_DOWN = "shutting_down"
    TOO_LARGE = "too_large"


class Rejection(NamedTuple):
    """A refusal.

    Attributes:
        reason: Which.
        message: One sentence for the caller; names nothing of the inside.
        param: The field at fault, when there is one.
        code: OpenAI's error code.
        retry_after_seconds: When to try again, or None when trying again is of no use.
    """

    reason: RejectionReason
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_seconds: float | None = None
