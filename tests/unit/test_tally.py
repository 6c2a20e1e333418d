"""Fairness and flips as they are counted; latencies are covered by the simulation's own tests."""

import pytest

from loadtest.simulator.tally import Tally, jain_ratio


def tally():
    return Tally(ttft_objective_seconds=1.0, tpot_objective_seconds=0.05)


def answer(counted, tenant, *, ttft_seconds=0.1):
    counted.complete(
        prompt_tokens=10,
        output_tokens=3,
        ttft_seconds=ttft_seconds,
        decode_seconds=0.02,
        tenant=tenant,
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), ([0, 0], None), ([3], 1), ([2, 2, 2], 1), ([5, 0, 0, 0], 0.25), ([1, 3], 0.8)],
)
def test_jains_index(values, expected):
    assert jain_ratio(values) == (None if expected is None else pytest.approx(expected))


def test_unused_replicas_count_as_unfairly_treated():
    counted = tally()
    for _ in range(4):
        counted.send("10.0.0.1:8000", "h100")
    assert counted.fairness(replicas=4).replicas_jain_ratio == pytest.approx(0.25)
    assert counted.fairness(replicas=1).replicas_jain_ratio == pytest.approx(1.0)


def test_a_flip_is_a_request_that_goes_elsewhere_than_the_one_before():
    counted = tally()
    for address in "aabba":
        counted.send(address, "h100")
    assert counted.fairness(replicas=2).pick_flip_ratio == pytest.approx(2 / 4)
    assert counted.backends == {"h100": 5}


def test_nothing_sent_and_nobody_known_has_no_fairness():
    counted = tally()
    counted.offer(None)
    found = counted.fairness(replicas=8)
    assert (found.replicas_jain_ratio, found.pick_flip_ratio) == (None, None)
    assert (found.tenants_jain_ratio, found.tenants) == (None, 0)


def test_tenants_are_compared_by_what_they_attain_of_what_they_asked():
    counted = tally()
    for tenant, late in (("a", 0), ("a", 0), ("b", 0), ("b", 1)):
        counted.offer(tenant)
        answer(counted, tenant, ttft_seconds=2.0 if late else 0.1)
    counted.offer("b")  # refused
    counted.offer("b")
    found = counted.fairness(replicas=1)
    # a attains all, b a quarter.
    assert found.tenants == 2
    assert found.tenants_jain_ratio == pytest.approx(1.25**2 / (2 * (1 + 0.25**2)))
    assert (counted.requests, counted.completed, counted.attained) == (6, 4, 3)
