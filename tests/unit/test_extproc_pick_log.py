"""The log of the last decisions."""

import pytest

from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Replica
from router.decide.explain import Explanation
from router.decide.outcome import Rejection
from router.decide.picker import Picker
from router.decide.request_facts import Api, RequestFacts
from router.decide.settings import DecideSettings
from router.extproc.pick_log import PickLog

ASKED = RequestFacts(model="llama", api=Api.CHAT, prompt_bytes=100)


@pytest.fixture
def picker():
    replica = Replica(address="10.0.0.1:8000", backend="h100", models=("llama",))
    backend = Backend(
        name="h100",
        accelerator="H100",
        parameters=8.03e9,
        profile=prior_profile("H100", parameters=8.03e9),
        replicas=(replica,),
    )
    return Picker(Fleet((backend,)), DecideSettings())


def test_the_log_decides_what_the_picker_decides(picker):
    log = PickLog(picker)
    pick = log.pick(ASKED, now_seconds=1.0, draw=0.5)
    assert pick.address == "10.0.0.1:8000"
    assert log.models() == ("llama",)
    assert picker.ledger.running() == 1
    assert log.settle(pick.ticket, now_seconds=2.0)
    assert not log.settle(pick.ticket, now_seconds=2.0)


def test_explanations_are_made_at_a_bounded_rate(picker):
    log = PickLog(picker, explained_per_second=10.0)
    for number in range(1000):  # one second of 1,000 picks per second
        log.pick(ASKED, now_seconds=number / 1000.0, draw=0.5)
    explained = [record for record in log.last(1000) if record.explanation is not None]
    assert 8 <= len(explained) <= 10
    assert isinstance(explained[0].explanation, Explanation)


def large_fleet(replicas):
    backend = Backend(
        name="h100",
        accelerator="H100",
        parameters=8.03e9,
        profile=prior_profile("H100", parameters=8.03e9),
        replicas=tuple(
            Replica(address=f"10.0.0.{n}:8000", backend="h100", models=("llama",))
            for n in range(replicas)
        ),
    )
    return Picker(Fleet((backend,)), DecideSettings())


def test_a_large_fleet_is_explained_less_often():
    log = PickLog(large_fleet(200), explained_per_second=10.0)
    for number in range(100):  # one second of 100 picks per second
        log.pick(ASKED, now_seconds=number / 100.0, draw=0.5)
    assert sum(log.verdicts.values()) == 5 * 200


def test_a_bounded_number_of_candidates_is_remembered():
    log = PickLog(large_fleet(200), capacity=1000)
    for second in range(150):
        log.pick(ASKED, now_seconds=float(second), draw=0.5)
    kept = log.last(1000)
    assert len(kept) == 150
    explained = [record.explanation is not None for record in kept]
    assert explained == [True] * 100 + [False] * 50


def test_nothing_is_remembered_where_nothing_is_to_be(picker):
    log = PickLog(picker, capacity=0)
    for second in range(3):
        log.pick(ASKED, now_seconds=float(second), draw=0.5)
    assert log.last(10) == []


def test_the_explanation_of_a_decision_goes_with_it(picker):
    log = PickLog(picker, capacity=2)
    for second in range(50):
        log.pick(ASKED, now_seconds=second / 20.0, draw=0.5)
    assert [record.explanation is not None for record in log.last(2)] in (
        [True, False],
        [False, True],
    )


def test_a_quiet_router_explains_every_pick(picker):
    log = PickLog(picker)
    for second in range(5):
        log.pick(ASKED, now_seconds=float(second), draw=0.5)
    assert all(record.explanation is not None for record in log.last(5))


def test_only_the_newest_are_kept_and_given_newest_first(picker):
    log = PickLog(picker, capacity=3)
    for second in range(5):
        log.pick(ASKED, now_seconds=float(second), draw=0.5)
    assert log.capacity == 3
    assert [record.at_seconds for record in log.last(2)] == [4.0, 3.0]
    assert len(log.last(100)) == 3


def test_a_record_tells_whether_its_request_is_still_in_flight(picker):
    log = PickLog(picker)
    pick = log.pick(ASKED, now_seconds=10.0, draw=0.5)
    [record] = log.last(1)
    told = record.to_dict(now_seconds=12.0)
    assert (told["age_seconds"], told["address"], told["in_flight"]) == (2.0, pick.address, True)
    assert told["explanation"]["chosen"] == pick.address
    log.settle(pick.ticket, now_seconds=12.0)
    assert record.to_dict(now_seconds=12.0)["in_flight"] is False


def test_refusals_are_recorded_too(picker):
    log = PickLog(picker)
    refused = log.pick(ASKED._replace(model="gpt-9"), now_seconds=1.0, draw=0.5)
    assert isinstance(refused, Rejection)
    told = log.last(1)[0].to_dict(now_seconds=1.0)
    assert (told["reason"], told["model"]) == ("model_not_found", "gpt-9")
    assert "address" not in told
