"""What /debug/explain answers: why a request would go where it would go now. Records nothing."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from router.decide.outcome import Rejection
from router.decide.request_facts import BadRequest, read_request
from router.extproc.answers import rejection_answer
from router.extproc.hints import HINT_HEADERS, read_hints
from router.extproc.pick_log import PickLog


class Explained(NamedTuple):
    """An answer in HTTP's terms, its body JSON."""

    status: int
    body: bytes


def explained(
    picks: PickLog, *, path: str, headers: Mapping[str, str], body: bytes, now_seconds: float
) -> Explained:
    """Explain `body` as if it had been sent to `path`, with the same hint headers.

    Args:
        picks: Asked.
        path: Of the API that the request is for.
        headers: Of the request; only hints count.
        body: Of the request.
        now_seconds: Monotonic time.
    """
    hints = read_hints({name: headers[name] for name in HINT_HEADERS if name in headers})
    if isinstance(hints, Rejection):
        return _bad(hints.message)
    facts = read_request(path, body, hints)
    if isinstance(facts, BadRequest):
        return _bad(facts.message)
    explanation = picks.explain(facts, now_seconds=now_seconds)
    if isinstance(explanation, Rejection):
        answer = rejection_answer(explanation)
        return Explained(answer.status, answer.body)
    return Explained(200, msgspec.json.encode(explanation.to_dict()))


def _bad(message: str) -> Explained:
    return Explained(400, msgspec.json.encode({"error": message}))
