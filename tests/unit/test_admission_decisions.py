"""What the picker tells those who let requests wait: domains that refuse, full replicas, room."""

from dataclasses import replace

import pytest
from builders import chat, make_fleet, make_snapshot

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.topology import Fleet
from router.decide.explain import Explanation
from router.decide.outcome import Pick, Rejection, RejectionReason
from router.decide.picker import Picker
from router.decide.request_facts import NO_HINTS
from router.decide.room import Room
from router.decide.settings import DecideSettings

SHEDDABLE = NO_HINTS._replace(priority=-1)
EXPIRES_SECONDS = 100.0


def in_domains(fleet, **domain_of_backend):
    """The fleet with each backend's replicas in a domain."""
    return Fleet(
        tuple(
            replace(
                backend,
                replicas=tuple(
                    replace(it, domain=domain_of_backend[backend.name]) for it in backend.replicas
                ),
            )
            for backend in fleet.backends
        )
    )


def make_picker(*, counts=None, board=None, at_most=256, readings=None, **settings):
    fleet = in_domains(make_fleet(counts or {"A100": 1, "H100": 1}), a100="cool", h100="hot")
    fleet = Fleet(tuple(replace(it, max_running_requests=at_most) for it in fleet.backends))
    picker = Picker(fleet, DecideSettings(**settings))
    picker.observe(make_snapshot(fleet, readings), board or PriceBoard(), now_seconds=0.0)
    return picker


def decide(picker, hints=NO_HINTS, *, now_seconds=0.0, **fields):
    return picker.pick(chat(hints=hints, **fields), now_seconds=now_seconds, draw=0.5)


def test_a_shedding_domain_refuses_only_what_may_be_shed():
    board = PriceBoard(shedding=frozenset({"hot"}), expires_seconds=EXPIRES_SECONDS)
    picker = make_picker(board=board)
    for _ in range(3):
        assert decide(picker, SHEDDABLE).address == "10.0.0.0:8000"
    assert "10.0.1.0:8000" in {decide(picker).address for _ in range(20)}


def test_a_refusing_domain_takes_nothing_new():
    board = PriceBoard(refusing=frozenset({"hot"}), expires_seconds=EXPIRES_SECONDS)
    picker = make_picker(board=board)
    picks = [decide(picker) for _ in range(20)]
    assert {pick.address for pick in picks} == {"10.0.0.0:8000"}
    assert all("10.0.1.0:8000" not in pick.fallbacks for pick in picks)


@pytest.mark.parametrize(
    ("board", "hints"),
    [
        (PriceBoard(shedding=frozenset({"hot", "cool"}), expires_seconds=9.0), SHEDDABLE),
        (PriceBoard(refusing=frozenset({"hot", "cool"}), expires_seconds=9.0), NO_HINTS),
    ],
)
def test_what_no_domain_takes_is_shed_until_the_board_expires(board, hints):
    picker = make_picker(board=board)
    rejection = decide(picker, hints, now_seconds=9.0)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is RejectionReason.SHED
    assert rejection.retry_after_seconds > 0.0
    assert isinstance(decide(picker, hints, now_seconds=9.1), Pick)


def test_a_subset_within_a_refusing_domain_is_shed():
    board = PriceBoard(refusing=frozenset({"hot"}), expires_seconds=EXPIRES_SECONDS)
    hints = NO_HINTS._replace(subset=frozenset({"10.0.1.0:8000"}))
    assert decide(make_picker(board=board), hints).reason is RejectionReason.SHED


def test_replicas_that_are_down_are_told_from_domains_that_refuse():
    board = PriceBoard(refusing=frozenset({"hot"}), expires_seconds=EXPIRES_SECONDS)
    down = {f"10.0.{backend}.0:8000": {SignalKind.HEALTHY_RATIO: 0.0} for backend in (0, 1)}
    picker = make_picker(board=board, readings=down)
    assert decide(picker).reason is RejectionReason.NO_HEALTHY_REPLICA


def test_an_explanation_names_the_domain_as_the_reason():
    board = PriceBoard(refusing=frozenset({"hot"}), expires_seconds=EXPIRES_SECONDS)
    explanation = make_picker(board=board).explain(chat(), now_seconds=0.0)
    assert isinstance(explanation, Explanation)
    verdicts = {view.address: view.verdict for view in explanation.candidates}
    assert verdicts["10.0.1.0:8000"] == "domain sheds"


def test_full_replicas_queue_unless_the_caller_lets_requests_wait():
    queueing = make_picker(at_most=2)
    assert all(isinstance(decide(queueing), Pick) for _ in range(10))
    holding = make_picker(at_most=2, hold_when_full=True)
    results = [decide(holding) for _ in range(10)]
    assert sum(isinstance(it, Pick) for it in results) == 4
    assert {it.reason for it in results[4:]} == {RejectionReason.FULL}


def test_an_idle_replica_is_never_full():
    picker = make_picker(counts={"A100": 1, "H100": 1}, hold_when_full=True)
    gigantic = {"prompt_bytes": 100_000_000}
    assert isinstance(decide(picker, **gigantic), Pick)
    assert isinstance(decide(picker, **gigantic), Pick)
    assert decide(picker, **gigantic).reason is RejectionReason.FULL


def test_room_is_what_a_pick_would_find():
    picker = make_picker(at_most=1, hold_when_full=True)
    room = Room(picker)
    picks = []
    while room.why_not(chat(), now_seconds=0.0) is None:
        picks.append(decide(picker))
    assert len(picks) == 2
    assert room.why_not(chat(), now_seconds=0.0) is RejectionReason.FULL
    assert decide(picker).reason is RejectionReason.FULL
    picker.settle(picks[0].ticket, now_seconds=1.0)
    assert room.why_not(chat(), now_seconds=1.0) is None
    assert picker.ledger.running() == 1


def test_a_model_that_is_known_and_has_no_replica_is_not_unknown():
    picker = make_picker()
    facts = chat("mistral")
    assert picker.pick(facts, now_seconds=0.0, draw=0.5).reason is RejectionReason.MODEL_NOT_FOUND
    picker.known_models = frozenset({"llama", "mistral"})
    assert Room(picker).why_not(facts, now_seconds=0.0) is RejectionReason.NO_HEALTHY_REPLICA


def test_work_and_rate_are_predicted():
    picker = make_picker()
    room = Room(picker)
    facts = chat(prompt_bytes=4200, output_tokens=200)
    assert room.work_tokens(facts, now_seconds=0.0) == pytest.approx(1200, rel=0.01)
    mix = picker.demand(facts, 0.0).mix
    expected = picker.requests_per_second("llama") * (mix.prompt_tokens + mix.output_tokens)
    assert room.tokens_per_second(facts, now_seconds=0.0) == pytest.approx(expected)
    assert expected > 0.0
    picker.known_models = frozenset({"mistral"})
    assert room.tokens_per_second(chat("mistral"), now_seconds=0.0) == 0.0
