"""What a decision can be: a pick, or a "no" that is a value and not an exception."""

from enum import StrEnum
from typing import NamedTuple

from router.decide.ledger import Ticket


class PickReason(StrEnum):
    """Why this replica and no other."""

    COMMITTED = "committed"  # best merit among the committed replicas that pass the guard
    OPENED = "opened"  # the committed were full: the next replica in merit order was opened
    LEAST_LATE = "least_late"  # no replica keeps the objective: the least late one
    DEGRADED = "degraded"  # no telemetry at all: least in flight
    POLICY = "policy"  # a baseline policy's own rule


class Pick(NamedTuple):
    """The chosen replica.

    Attributes:
        address: "ip:port".
        reason: Why.
        ticket: The ledger's entry, to be settled exactly once when the request ends.
        dynamic_joules: Energy above idle that the request is predicted to take there.
    """

    address: str
    reason: PickReason
    ticket: Ticket
    dynamic_joules: float


class RejectionReason(StrEnum):
    """The closed list of refusals; the shell maps each to one HTTP status."""

    BAD_REQUEST = "bad_request"
    MODEL_NOT_FOUND = "model_not_found"
    NO_HEALTHY_REPLICA = "no_healthy_replica"
    SHED = "shed"


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
