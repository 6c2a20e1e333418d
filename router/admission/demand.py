"""What waits for a model: the wish for replicas that no replica's metrics can tell. Pure."""

from typing import NamedTuple


class WaitingDemand(NamedTuple):
    """What waits for a model: the wish for replicas that no replica's metrics can tell.

    Attributes:
        requests: How many.
        work_tokens: Predicted tokens of prompts and answers.
        oldest_age_seconds: How long the first has waited.
        has_replica: False while the model is scaled to zero or all its replicas are down.
    """

    requests: int
    work_tokens: int
    oldest_age_seconds: float
    has_replica: bool


NO_DEMAND = WaitingDemand(requests=0, work_tokens=0, oldest_age_seconds=0.0, has_replica=True)
