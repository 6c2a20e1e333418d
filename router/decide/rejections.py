"""The decision's refusals, as callers see them."""

from router.decide.outcome import Rejection, RejectionReason


def model_not_found(model: str) -> Rejection:
    """No replica serves it or ever did."""
    return Rejection(
        RejectionReason.MODEL_NOT_FOUND,
        f"The model '{model}' does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def no_replica(model: str | None, retry_after_seconds: float) -> Rejection:
    """None of the model's replicas is ready; without a model: none that the request may go to."""
    if model is None:
        sentence = "No replica is ready for this request."
    else:
        sentence = f"No replica of the model '{model}' is ready."
    return Rejection(
        RejectionReason.NO_HEALTHY_REPLICA,
        f"{sentence} Please try again later.",
        code="service_unavailable",
        retry_after_seconds=retry_after_seconds,
    )


def shed(retry_after_seconds: float) -> Rejection:
    """No replica keeps the objective, and the request may be shed."""
    return Rejection(
        RejectionReason.SHED,
        "The service is at capacity and the request may be shed. Please try again later.",
        code="rate_limit_exceeded",
        retry_after_seconds=retry_after_seconds,
    )


def refused_by_domain(retry_after_seconds: float) -> Rejection:
    """Every replica that could serve stands where power is short."""
    return Rejection(
        RejectionReason.SHED,
        "The service does not take this request now. Please try again later.",
        code="rate_limit_exceeded",
        retry_after_seconds=retry_after_seconds,
    )


def full(retry_after_seconds: float) -> Rejection:
    """Every replica would only queue the request."""
    return Rejection(
        RejectionReason.FULL,
        "The service is at capacity. Please try again later.",
        code="rate_limit_exceeded",
        retry_after_seconds=retry_after_seconds,
    )
