"""What request headers tell the decision: objectives, priority, allowed endpoints. Pure."""

import math
from collections.abc import Iterable, Mapping

from fleet.units import SECONDS_PER_MILLISECOND
from router.decide.outcome import Rejection, RejectionReason
from router.decide.request_facts import NO_HINTS, RequestHints

# Ours first; then llm-d's name and the name it had before, so that its clients need no change.
TTFT_HEADERS = ("x-headrace-slo-ttft-ms", "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")
TPOT_HEADERS = ("x-headrace-slo-tpot-ms", "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms")
PRIORITY_HEADER = "x-headrace-priority"
OBJECTIVE_HEADERS = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
TENANT_HEADERS = (
    "x-headrace-tenant",
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
)

# The usual name first; then Dynamo's.
SESSION_HEADERS = ("x-session-id", "x-dynamo-session-id")

HINT_HEADERS = frozenset(
    {
        *TTFT_HEADERS,
        *TPOT_HEADERS,
        PRIORITY_HEADER,
        *OBJECTIVE_HEADERS,
        *TENANT_HEADERS,
        *SESSION_HEADERS,
    }
)
"""The request headers that the decision is made on."""

# Ours and llm-d's; then the names that the Gateway API Inference Extension had before.
REWRITE_HEADERS = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
CONTEXT_HEADERS = frozenset(
    {
        *REWRITE_HEADERS,
        "traceparent",
        "x-request-id",
    }
)
"""Further request headers that are read: who asks, and for what."""

READ_HEADERS = HINT_HEADERS | CONTEXT_HEADERS
"""All request headers, besides :method and :path, that are looked at."""

_PRIORITY_LIMIT = 2**31  # InferenceObjective.spec.priority is an int32
_SHOWN_CHARACTERS = 40
_MAX_NAME_CHARACTERS = 253  # of an object's name; InferenceObjectives have no longer one


def read_hints(
    headers: Mapping[str, str], subset: frozenset[str] | None = None
) -> RequestHints | Rejection:
    """Read the hints, or refuse with the name of the header that is malformed.

    Args:
        headers: Those of READ_HEADERS that were sent.
        subset: From the proxy, passed on.
    """
    if subset is None and HINT_HEADERS.isdisjoint(headers):
        return NO_HINTS
    ttft_seconds = _objective_seconds(headers, TTFT_HEADERS)
    if isinstance(ttft_seconds, Rejection):
        return ttft_seconds
    tpot_seconds = _objective_seconds(headers, TPOT_HEADERS)
    if isinstance(tpot_seconds, Rejection):
        return tpot_seconds
    priority = _priority(headers.get(PRIORITY_HEADER))
    if isinstance(priority, Rejection):
        return priority
    objective = None if PRIORITY_HEADER in headers else _first(headers, OBJECTIVE_HEADERS) or None
    tenant = _first(headers, TENANT_HEADERS)
    return RequestHints(
        ttft_seconds,
        tpot_seconds,
        priority,
        subset,
        session=_first(headers, SESSION_HEADERS) or None,
        objective=objective,
        tenant=tenant,
    )


def rewritten_model(headers: Mapping[str, str]) -> str | None:
    """The model that the replica is to be asked for instead, or None."""
    for name in REWRITE_HEADERS:
        model = headers.get(name, "").strip()
        if model:
            return model
    return None


def read_subset(entries: str | Iterable[str]) -> frozenset[str]:
    """The endpoints of a subset hint: a list, or one string with commas (both occur)."""
    parts = entries.split(",") if isinstance(entries, str) else entries
    return frozenset(stripped for part in parts if (stripped := part.strip()))


def _objective_seconds(
    headers: Mapping[str, str], names: tuple[str, ...]
) -> float | Rejection | None:
    """The first of `names` that was sent, in seconds."""
    for name in names:
        text = headers.get(name)
        if text is not None:
            milliseconds = _number(text)
            if milliseconds is None or milliseconds <= 0.0:
                return _malformed(name, "a number of milliseconds above 0", text)
            return milliseconds * SECONDS_PER_MILLISECOND
    return None


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of `names` that was sent and is not empty, cut where it is overlong."""
    found = (headers.get(name, "").strip()[:_MAX_NAME_CHARACTERS] for name in names)
    return next(filter(None, found), "")


def _number(text: str) -> float | None:
    """A finite decimal number, or None; Python's own "1_000" is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _priority(text: str | None) -> int | Rejection:
    if text is None:
        return 0
    digits = text.strip().removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(_PRIORITY_LIMIT))):
        return _malformed(PRIORITY_HEADER, "an integer of 32 bits", text)
    value = -int(digits) if text.strip().startswith("-") else int(digits)
    if not -_PRIORITY_LIMIT <= value < _PRIORITY_LIMIT:
        return _malformed(PRIORITY_HEADER, "an integer of 32 bits", text)
    return value


def _malformed(name: str, allowed: str, text: str) -> Rejection:
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return Rejection(
        RejectionReason.BAD_REQUEST,
        f"The header {name} must be {allowed}, got '{shown}'.",
        param=name,
        code="invalid_header",
    )
