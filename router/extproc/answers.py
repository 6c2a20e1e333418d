"""The HTTP answers that the router gives by itself, in OpenAI's formats. Pure."""

import math
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from router.decide.outcome import Rejection, RejectionReason
from router.extproc.events import Immediate

_MODELS_PATH = "/v1/models"
_HEALTH_PATH = "/health"
_OWNER = "headrace"

DROPPED_REASON_HEADER = "x-llm-d-request-dropped-reason"
"""On 429 and 503; the reference picker's name, so that its clients need no change."""


class Refusal(NamedTuple):
    """How a reason of refusal looks from outside.

    Attributes:
        status: HTTP status.
        error_type: OpenAI's error `type`.
        code: OpenAI's error `code` when the rejection brings none.
        retry_after_seconds: Told when the rejection brings none; None where a retry is of no use.
        dropped: Why the service turned a good request away, in the reference picker's words.
    """

    status: int
    error_type: str
    code: str
    retry_after_seconds: float | None
    dropped: str | None = None


_REFUSALS = {
    RejectionReason.BAD_REQUEST: Refusal(400, "invalid_request_error", "invalid_request", None),
    RejectionReason.MODEL_NOT_FOUND: Refusal(404, "invalid_request_error", "model_not_found", None),
    RejectionReason.TOO_LARGE: Refusal(413, "invalid_request_error", "request_too_large", None),
    RejectionReason.NO_HEALTHY_REPLICA: Refusal(
        503, "server_error", "service_unavailable", 5.0, dropped="rejected-no-endpoints"
    ),
    RejectionReason.SHED: Refusal(
        429, "rate_limit_error", "rate_limit_exceeded", 1.0, dropped="rejected-saturated"
    ),
    RejectionReason.FULL: Refusal(
        429, "rate_limit_error", "rate_limit_exceeded", 1.0, dropped="rejected-saturated"
    ),
    RejectionReason.QUEUE_FULL: Refusal(
        429, "rate_limit_error", "rate_limit_exceeded", 1.0, dropped="rejected-saturated"
    ),
    RejectionReason.NO_ROOM_IN_TIME: Refusal(
        429, "rate_limit_error", "rate_limit_exceeded", 1.0, dropped="rejected-ttl-expired"
    ),
    RejectionReason.NO_REPLICA_IN_TIME: Refusal(
        503, "server_error", "service_unavailable", 5.0, dropped="rejected-ttl-expired"
    ),
    RejectionReason.SHUTTING_DOWN: Refusal(
        503, "server_error", "service_unavailable", 1.0, dropped="rejected-shutting-down"
    ),
}


def refusal_of(reason: RejectionReason) -> Refusal:
    """The one place where a reason becomes a status; its metric label is `reason.value`."""
    return _REFUSALS[reason]


def rejection_answer(rejection: Rejection) -> Immediate:
    """A refusal as OpenAI's error object, with Retry-After (whole seconds, up) where it helps."""
    refusal = refusal_of(rejection.reason)
    retry_after_seconds = rejection.retry_after_seconds or refusal.retry_after_seconds
    headers: tuple[tuple[str, str], ...] = ()
    if retry_after_seconds is not None:
        headers = (("retry-after", str(max(1, math.ceil(retry_after_seconds)))),)
    if refusal.dropped is not None:
        headers = (*headers, (DROPPED_REASON_HEADER, refusal.dropped))
    error = {
        "message": rejection.message,
        "type": refusal.error_type,
        "param": rejection.param,
        "code": rejection.code or refusal.code,
    }
    return Immediate(
        status=refusal.status,
        body=msgspec.json.encode({"error": error}),
        headers=headers,
        details=f"headrace_{rejection.reason.value}",
        rejection=rejection.reason,
    )


def local_answer(
    path: str, models: tuple[str, ...], *, created_epoch_seconds: int
) -> Immediate | None:
    """The answer to a GET or HEAD of `path` that no replica need see, or None.

    Args:
        path: With or without a query string.
        models: Names of all served models.
        created_epoch_seconds: What model objects carry as `created`, which clients require.
    """
    bare = path.partition("?")[0].rstrip("/")
    if bare == _HEALTH_PATH:
        return _ok({"status": "ok"}, details="headrace_health")
    if bare == _MODELS_PATH:
        listing = [_model_object(model, created_epoch_seconds) for model in models]
        return _ok({"object": "list", "data": listing}, details="headrace_models")
    if not bare.startswith(_MODELS_PATH + "/"):
        return None
    # Names with slashes ("meta-llama/...") come both quoted and plain.
    name = unquote(bare.removeprefix(_MODELS_PATH + "/"))
    if name in models:
        return _ok(_model_object(name, created_epoch_seconds), details="headrace_models")
    return rejection_answer(
        Rejection(
            RejectionReason.MODEL_NOT_FOUND,
            f"The model '{name}' does not exist or you do not have access to it.",
            param="model",
        )
    )


def _model_object(name: str, created_epoch_seconds: int) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": created_epoch_seconds, "owned_by": _OWNER}


def _ok(content: object, *, details: str) -> Immediate:
    return Immediate(status=200, body=msgspec.json.encode(content), headers=(), details=details)
