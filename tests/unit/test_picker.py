"""What the picker does in the situations that matter."""

import collections

import pytest
from builders import chat, make_fleet, make_snapshot

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.outcome import Pick, PickReason, Rejection, RejectionReason
from router.decide.picker import Picker
from router.decide.policies import POLICIES
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings

NEUTRAL = PriceBoard()


def ready(fleet, *, policy="dispatch", readings=None, now_seconds=0.0):
    picker = Picker(fleet, DecideSettings(policy=policy))
    picker.observe(
        make_snapshot(fleet, readings, at_seconds=now_seconds), NEUTRAL, now_seconds=now_seconds
    )
    picker.commit(now_seconds=now_seconds)
    return picker


def backend_of(fleet, address):
    return next(r.backend for r in fleet.replicas() if r.address == address)


def test_an_unknown_model_is_refused_without_naming_the_inside():
    picker = ready(make_fleet())

    answer = picker.pick(chat("gpt-9"), now_seconds=0, draw=0)

    assert isinstance(answer, Rejection)
    assert answer.reason is RejectionReason.MODEL_NOT_FOUND
    assert answer.code == "model_not_found"
    assert "llama" not in answer.message
    assert "10.0." not in answer.message


def test_no_healthy_replica_is_a_rejection_that_says_when_to_retry():
    fleet = make_fleet({"H100": 2})
    down = {r.address: {SignalKind.HEALTHY_RATIO: 0.0} for r in fleet.replicas()}

    answer = ready(fleet, readings=down).pick(chat(), now_seconds=0, draw=0)

    assert answer.reason is RejectionReason.NO_HEALTHY_REPLICA
    assert answer.retry_after_seconds > 0


def test_an_unhealthy_replica_is_never_picked_by_any_policy():
    fleet = make_fleet({"H100": 3})
    sick = next(iter(fleet.replicas())).address
    for policy in POLICIES:
        picker = ready(fleet, policy=policy, readings={sick: {SignalKind.HEALTHY_RATIO: 0.0}})

        picked = {picker.pick(chat(), now_seconds=0, draw=k / 20).address for k in range(20)}

        assert sick not in picked, policy


def test_without_any_telemetry_the_fewest_in_flight_is_picked():
    fleet = make_fleet({"H100": 3})
    picker = Picker(fleet, DecideSettings())

    picks = [picker.pick(chat(), now_seconds=0, draw=0) for _ in range(6)]

    assert {pick.reason for pick in picks} == {PickReason.DEGRADED}
    assert set(collections.Counter(pick.address for pick in picks).values()) == {2}


def test_dispatch_packs_one_replica_until_its_guard_trips():
    fleet = make_fleet({"H100": 4})
    picker = ready(fleet)

    picks = [picker.pick(chat(prompt_bytes=400), now_seconds=k * 0.05, draw=0) for k in range(60)]

    counts = collections.Counter(pick.address for pick in picks)
    assert len(counts) < 4
    assert max(counts.values()) > 60 / 4


def test_a_full_committed_set_opens_the_next_replica():
    fleet = make_fleet({"H100": 2})
    picker = ready(fleet)

    picks = [picker.pick(chat(prompt_bytes=8000), now_seconds=0.0, draw=0) for _ in range(60)]

    assert PickReason.OPENED in {pick.reason for pick in picks}
    assert len({pick.address for pick in picks}) == 2


def test_when_no_replica_keeps_the_objective_the_least_late_takes_it():
    fleet = make_fleet({"L40S": 1, "B200": 1})
    picker = ready(fleet)
    impossible = chat(hints=RequestHints(tpot_seconds=1e-6))

    pick = picker.pick(impossible, now_seconds=0, draw=0)

    assert pick.reason is PickReason.LEAST_LATE
    assert backend_of(fleet, pick.address) == "b200"


def test_a_sheddable_request_is_shed_when_no_replica_keeps_the_objective():
    picker = ready(make_fleet({"H100": 1}))
    sheddable = chat(hints=RequestHints(tpot_seconds=1e-6, priority=-1))

    answer = picker.pick(sheddable, now_seconds=0, draw=0)

    assert answer.reason is RejectionReason.SHED
    assert answer.retry_after_seconds >= 1
    assert picker.ledger.running() == 0


def test_a_lax_objective_does_not_slow_those_that_run_already():
    fleet = make_fleet({"H100": 2})
    strict, lax = ready(fleet), ready(fleet)
    for k in range(400):
        now_seconds = k * 0.05
        strict.pick(chat(), now_seconds=now_seconds, draw=0)
        lax.pick(chat(hints=RequestHints(tpot_seconds=60.0)), now_seconds=now_seconds, draw=0)

    fullest = [max(unit.running for unit in picker.units()) for picker in (strict, lax)]
    assert fullest[0] == fullest[1]


def test_a_subset_hint_limits_every_policy():
    fleet = make_fleet({"A100": 2, "H100": 2})
    only = sorted(r.address for r in fleet.replicas())[1:2]
    hinted = chat(hints=RequestHints(subset=frozenset(only)))
    for policy in POLICIES:
        picker = ready(fleet, policy=policy)

        picked = {picker.pick(hinted, now_seconds=0, draw=k / 9).address for k in range(9)}

        assert picked == set(only), policy


def test_a_host_in_the_subset_means_all_its_ports():
    fleet = make_fleet({"H100": 2})
    hinted = chat(hints=RequestHints(subset=frozenset({"10.0.0.1"})))

    assert ready(fleet).pick(hinted, now_seconds=0, draw=0).address == "10.0.0.1:8000"


def test_a_subset_without_a_replica_is_no_healthy_replica():
    answer = ready(make_fleet()).pick(
        chat(hints=RequestHints(subset=frozenset({"10.9.9.9:1"}))), now_seconds=0, draw=0
    )

    assert answer.reason is RejectionReason.NO_HEALTHY_REPLICA


def test_a_price_moves_load_away_from_its_domain():
    fleet = make_fleet({"A100": 1, "H100": 1})
    picker = Picker(fleet, DecideSettings(policy="merit-packing"))
    picker.observe(make_snapshot(fleet), NEUTRAL, now_seconds=0)
    cheap = picker.pick(chat(), now_seconds=0, draw=0).address
    priced = Picker(fleet, DecideSettings(policy="merit-packing"))
    for unit in priced.units():
        unit.price_ratio = 1.0
    board = PriceBoard(ratios={"default": 3.0}, expires_seconds=10.0)
    priced.observe(make_snapshot(fleet), board, now_seconds=0)

    assert {unit.price_ratio for unit in priced.units()} == {3.0}
    assert priced.pick(chat(), now_seconds=0, draw=0).address == cheap
    priced.observe(make_snapshot(fleet, at_seconds=11), board, now_seconds=11)
    assert {unit.price_ratio for unit in priced.units()} == {1.0}


def test_scraped_load_is_corrected_by_own_starts_and_ends():
    fleet = make_fleet({"H100": 1})
    address = next(iter(fleet.replicas())).address
    picker = ready(fleet)
    before = [picker.pick(chat(), now_seconds=1.0, draw=0) for _ in range(3)]
    snapshot = make_snapshot(fleet, {address: {SignalKind.RUNNING_REQUESTS: 5.0}}, at_seconds=2.0)
    after = [picker.pick(chat(), now_seconds=2.5, draw=0) for _ in range(2)]
    picker.settle(before[0].ticket, now_seconds=2.8)
    picker.observe(snapshot, NEUTRAL, now_seconds=3.0)

    unit = picker.units()[0]

    assert unit.foreign_running == 2.0  # 5 scraped at 2.0, of which 3 were ours
    assert unit.running == 2.0 + 3 + 2 - 1
    assert len(after) == 2


@pytest.mark.parametrize("age_seconds", [6.0, 600.0])
def test_a_stale_load_leaves_the_ledger_alone(age_seconds):
    fleet = make_fleet({"H100": 1})
    address = next(iter(fleet.replicas())).address
    picker = Picker(fleet, DecideSettings())
    stale = make_snapshot(fleet, {address: {SignalKind.RUNNING_REQUESTS: 200.0}}, at_seconds=0.0)

    picker.observe(stale, NEUTRAL, now_seconds=age_seconds)

    assert picker.units()[0].running == 0.0
    assert not picker.units()[0].observed


def test_topology_changes_keep_the_accounts_of_replicas_that_stay():
    big, small = make_fleet({"H100": 3}), make_fleet({"H100": 1})
    picker = ready(big)
    tickets = [picker.pick(chat(), now_seconds=0, draw=k / 3).ticket for k in range(3)]

    picker.observe(make_snapshot(small, at_seconds=1), NEUTRAL, now_seconds=1)

    assert len(picker.units()) == 1
    assert picker.ledger.running() == 3
    assert sum(picker.settle(ticket, now_seconds=2) for ticket in tickets) == 3
    assert picker.ledger.running() == 0
    assert not any(picker.settle(ticket, now_seconds=3) for ticket in tickets)


def test_a_model_that_left_the_fleet_is_not_found_any_more():
    picker = ready(make_fleet(models=("llama", "qwen")))
    assert isinstance(picker.pick(chat("qwen"), now_seconds=0, draw=0), Pick)

    picker.observe(make_snapshot(make_fleet(), at_seconds=1), NEUTRAL, now_seconds=1)

    assert picker.models() == ("llama",)
    answer = picker.pick(chat("qwen"), now_seconds=1, draw=0)
    assert answer.reason is RejectionReason.MODEL_NOT_FOUND


def test_explain_shows_every_candidate_and_records_nothing():
    fleet = make_fleet()
    picker = ready(fleet)

    explanation = picker.explain(chat(), now_seconds=0)

    assert {view.address for view in explanation.candidates} == {
        replica.address for replica in fleet.replicas()
    }
    assert [view.verdict for view in explanation.candidates].count("chosen") == 1
    assert explanation.candidates[0].address == explanation.chosen
    assert picker.ledger.running() == 0
    assert explanation.to_dict()["candidates"][0]["merit_joules"] > 0


def test_an_unknown_policy_is_an_error_at_start():
    with pytest.raises(KeyError):
        Picker(make_fleet(), DecideSettings(policy="magic"))
