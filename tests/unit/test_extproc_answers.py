"""Refusals as the outside sees them."""

import json

import pytest

from router.decide.outcome import Rejection, RejectionReason
from router.extproc.answers import refusal_of, rejection_answer


@pytest.mark.parametrize(
    ("reason", "status", "error_type", "retries"),
    [
        (RejectionReason.BAD_REQUEST, 400, "invalid_request_error", False),
        (RejectionReason.MODEL_NOT_FOUND, 404, "invalid_request_error", False),
        (RejectionReason.NO_HEALTHY_REPLICA, 503, "server_error", True),
        (RejectionReason.SHED, 429, "rate_limit_error", True),
    ],
)
def test_each_reason_has_one_face(reason, status, error_type, retries):
    answer = rejection_answer(Rejection(reason, "Sorry."))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"]) == (status, error_type)
    assert set(error) == {"message", "type", "param", "code"}
    assert ("retry-after" in dict(answer.headers)) is retries


def test_no_reason_is_without_a_face():
    assert all(refusal_of(reason).status >= 400 for reason in RejectionReason)


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1"), (1.0, "1"), (1.01, "2"), (30.0, "30")])
def test_retry_after_is_whole_seconds_rounded_up(seconds, told):
    answer = rejection_answer(
        Rejection(RejectionReason.SHED, "Sorry.", retry_after_seconds=seconds)
    )
    assert dict(answer.headers)["retry-after"] == told
