"""What those are told who may not wait, or waited in vain. Pure."""

from router.admission.settings import AdmissionSettings
from router.decide.outcome import Rejection, RejectionReason


def drain_seconds(
    settings: AdmissionSettings, *, work_tokens: int, tokens_per_second: float, draw: float
) -> float:
    """When to come back: the queue's predicted work over the fleet's predicted rate.

    Bounded by the settings; a rate of 0 gives the upper bound. The draw, uniform in [0, 1), adds
    up to the jitter to what was predicted.
    """
    longest_seconds = settings.max_retry_after_seconds
    predicted_seconds = longest_seconds
    if tokens_per_second > 0.0:
        predicted_seconds = min(longest_seconds, work_tokens / tokens_per_second)
    jittered_seconds = predicted_seconds * (1.0 + settings.retry_jitter_ratio * draw)
    return max(settings.min_retry_after_seconds, jittered_seconds)


def queue_full(retry_after_seconds: float) -> Rejection:
    """There was no place left, or it was given to another."""
    return Rejection(
        RejectionReason.QUEUE_FULL,
        "The service is at capacity and too many requests wait. Please try again later.",
        retry_after_seconds=retry_after_seconds,
    )


def expired(model: str, cause: RejectionReason | None, retry_after_seconds: float) -> Rejection:
    """The deadline came first; `cause` is why the request could not go even then."""
    if cause is RejectionReason.NO_HEALTHY_REPLICA:
        return Rejection(
            RejectionReason.NO_REPLICA_IN_TIME,
            f"No replica of the model '{model}' became ready in time. Please try again later.",
            retry_after_seconds=retry_after_seconds,
        )
    return Rejection(
        RejectionReason.NO_ROOM_IN_TIME,
        "The service is at capacity and found no room in time. Please try again later.",
        retry_after_seconds=retry_after_seconds,
    )


def shutting_down(retry_after_seconds: float) -> Rejection:
    """This router takes nothing more; another will."""
    return Rejection(
        RejectionReason.SHUTTING_DOWN,
        "The service is restarting. Please try again.",
        retry_after_seconds=retry_after_seconds,
    )
