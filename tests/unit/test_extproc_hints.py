"""Hints in request headers and in the proxy's metadata."""

import pytest

from router.decide.outcome import Rejection, RejectionReason
from router.decide.request_facts import NO_HINTS
from router.extproc.hints import TPOT_HEADERS, TTFT_HEADERS, read_hints, read_subset


def test_no_headers_are_no_hints():
    assert read_hints({}) is NO_HINTS


@pytest.mark.parametrize("prefix", ["x-headrace-slo", "x-llm-d-slo", "x-slo"])
def test_objectives_are_read_under_all_their_names(prefix):
    hints = read_hints({f"{prefix}-ttft-ms": "250", f"{prefix}-tpot-ms": "12.5"})
    assert hints.ttft_seconds == pytest.approx(0.25)
    assert hints.tpot_seconds == pytest.approx(0.0125)


def test_our_own_name_wins_over_the_others():
    hints = read_hints(
        {"x-slo-ttft-ms": "1", "x-headrace-slo-ttft-ms": "3", "x-llm-d-slo-ttft-ms": "2"}
    )
    assert hints.ttft_seconds == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("text", "priority"), [("0", 0), ("-1", -1), ("+7", 7), (" 5 ", 5), ("-2147483648", -(2**31))]
)
def test_a_priority_is_an_integer(text, priority):
    assert read_hints({"x-headrace-priority": text}).priority == priority


@pytest.mark.parametrize("text", ["", "abc", "0", "-5", "nan", "inf", "1_000", "1,5", "5ms"])
@pytest.mark.parametrize("name", [*TTFT_HEADERS, *TPOT_HEADERS])
def test_a_malformed_objective_is_refused_by_name(name, text):
    rejection = read_hints({name: text})
    assert isinstance(rejection, Rejection)
    assert rejection.reason is RejectionReason.BAD_REQUEST
    assert rejection.param == name
    assert name in rejection.message


@pytest.mark.parametrize(
    "text", ["", "-", "--1", "+-1", "1.5", "1_0", "٣", "2147483648", "9" * 5000, "high"]
)
def test_a_malformed_priority_is_refused(text):
    rejection = read_hints({"x-headrace-priority": text})
    assert isinstance(rejection, Rejection)
    assert len(rejection.message) < 200


def test_a_subset_comes_as_a_list_or_as_one_string():
    expected = frozenset({"10.0.0.1:80", "10.0.0.2"})
    assert read_subset(["10.0.0.1:80", " 10.0.0.2 ", ""]) == expected
    assert read_subset("10.0.0.1:80, 10.0.0.2,") == expected
    assert read_subset("") == frozenset()


@pytest.mark.parametrize("name", ["x-llm-d-inference-objective", "x-gateway-inference-objective"])
def test_an_objective_is_named_by_the_callers_header(name):
    assert read_hints({name: " batch "}).objective == "batch"
    assert read_hints({name: ""}).objective is None


def test_an_explicit_priority_goes_before_the_objective():
    hints = read_hints({"x-llm-d-inference-objective": "batch", "x-headrace-priority": "3"})
    assert (hints.priority, hints.objective) == (3, None)


def test_the_tenant_is_the_first_name_that_says_something():
    headers = {
        "x-headrace-tenant": "",
        "x-llm-d-inference-fairness-id": "blue",
        "x-gateway-inference-fairness-id": "red",
    }
    assert read_hints(headers).tenant == "blue"
    assert read_hints({"x-headrace-tenant": "t" * 1000}).tenant == "t" * 253
