"""Fairness among tenants who wait, and what refused callers are told."""

import pytest
from builders import chat
from hypothesis import given
from hypothesis import strategies as st

from router.admission.queue import AdmissionQueue
from router.admission.refusals import drain_seconds
from router.admission.settings import AdmissionSettings
from router.admission.turns import Entry
from router.decide.request_facts import NO_HINTS

SETTINGS = AdmissionSettings(max_waiting_requests=10_000, quantum_tokens=64)
WORK = st.lists(st.integers(1, 3000), min_size=1, max_size=25)


def waits(queue, tenant, work_tokens, model="llama"):
    hints = NO_HINTS._replace(tenant=tenant)
    entry = Entry(
        chat(model, hints=hints), work_tokens=work_tokens, arrived_seconds=0.0, deadline_seconds=1.0
    )
    assert queue.offer(entry).accepted
    return entry


@given(st.dictionaries(st.sampled_from("abcd"), WORK, min_size=2))
def test_while_tenants_wait_they_are_served_alike(requests):
    """Within the quantum and two of the largest requests, whatever sizes and numbers they send."""
    queue = AdmissionQueue(SETTINGS)
    left = {tenant: len(sizes) for tenant, sizes in requests.items()}
    for tenant, sizes in requests.items():
        for size in sizes:
            waits(queue, tenant, size)
    largest = max(max(sizes) for sizes in requests.values())
    served = dict.fromkeys(requests, 0)
    while all(left.values()):
        entry = queue.first()
        queue.admit(entry)
        served[entry.tenant] += entry.work_tokens
        left[entry.tenant] -= 1
        assert max(served.values()) - min(served.values()) <= SETTINGS.quantum_tokens + 2 * largest


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3000)), min_size=1, max_size=60))
def test_a_tenants_requests_go_in_the_order_in_which_they_came(requests):
    queue = AdmissionQueue(SETTINGS)
    expected = {"a": [], "b": []}
    for tenant, size in requests:
        expected[tenant].append(waits(queue, tenant, size))
    found = {"a": [], "b": []}
    while (entry := queue.first()) is not None:
        queue.admit(entry)
        found[entry.tenant].append(entry)
    assert found == expected


def test_a_tenant_that_floods_does_not_keep_another_waiting():
    queue = AdmissionQueue(SETTINGS)
    for _ in range(500):
        waits(queue, "flood", 200)
    single = waits(queue, "other", 200)
    position = 0
    while (entry := queue.first()) is not single:
        queue.admit(entry)
        position += 1
    assert position <= 2


def test_models_of_the_same_priority_are_served_in_turn():
    queue = AdmissionQueue(SETTINGS)
    for _ in range(3):
        for model in ("llama", "mistral"):
            waits(queue, "a", 10, model)
    models = []
    while (entry := queue.first()) is not None:
        queue.admit(entry)
        models.append(entry.facts.model)
    assert models == ["llama", "mistral"] * 3


def test_the_turn_of_a_tenant_that_leaves_goes_to_the_next():
    queue = AdmissionQueue(SETTINGS)
    first, second, _third = (waits(queue, tenant, 64) for tenant in "abc")
    assert queue.first() is first
    assert queue.cancel(first)
    assert queue.first() is second


def test_a_tenant_keeps_no_credit_while_it_does_not_wait():
    queue = AdmissionQueue(SETTINGS)
    for _ in range(50):
        waits(queue, "a", 640)
    for _ in range(20):
        waits(queue, "b", 1)
        while (entry := queue.first()).tenant == "a":
            queue.admit(entry)
        queue.admit(entry)
    burst = [waits(queue, "b", 640) for _ in range(10)]
    order = []
    while len(order) < 10 and (entry := queue.first()) is not None:
        queue.admit(entry)
        order.append(entry.tenant)
    assert order.count("b") <= 6
    assert len(burst) == 10


@given(
    work=st.integers(0, 10**9),
    rate=st.floats(0.0, 1e9),
    draw=st.floats(0.0, 1.0, exclude_max=True),
)
def test_retry_after_is_the_drain_time_within_bounds(work, rate, draw):
    seconds = drain_seconds(SETTINGS, work_tokens=work, tokens_per_second=rate, draw=draw)
    most = SETTINGS.max_retry_after_seconds * (1.0 + SETTINGS.retry_jitter_ratio)
    assert SETTINGS.min_retry_after_seconds <= seconds <= most
    if rate and SETTINGS.min_retry_after_seconds < work / rate < SETTINGS.max_retry_after_seconds:
        assert work / rate <= seconds <= work / rate * (1.0 + SETTINGS.retry_jitter_ratio)


def test_retry_after_without_a_rate_is_the_longest():
    seconds = drain_seconds(SETTINGS, work_tokens=1, tokens_per_second=0.0, draw=0.0)
    assert seconds == pytest.approx(SETTINGS.max_retry_after_seconds)
