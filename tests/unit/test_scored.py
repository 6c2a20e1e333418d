"""Scores of endpoints with a pick, and how they are sent."""

from builders import chat, make_fleet, make_snapshot
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse
from msgspec.structs import replace

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.picker import Picker
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings
from router.extproc.encoder import Encoder
from router.extproc.events import Phase, Route
from router.extproc.scored import SCORES_KEY, ScoredDecider

FLEET = make_fleet({"A100": 2, "H100": 2})
ADDRESSES = [replica.address for replica in FLEET.replicas()]


def decider(readings=None):
    picker = Picker(FLEET, DecideSettings())
    snapshot = make_snapshot(
        FLEET, readings, default={SignalKind.HEALTHY_RATIO: 1.0, SignalKind.RUNNING_REQUESTS: 0.0}
    )
    picker.observe(snapshot, PriceBoard(), now_seconds=0.0)
    picker.commit(now_seconds=0.0)
    return ScoredDecider(picker)


def pick(scored, **facts):
    return scored.pick(chat()._replace(**facts), now_seconds=0.0, draw=0.5)


def test_every_candidate_has_a_score_and_the_pick_the_highest():
    scored = decider()
    picked = pick(scored)
    explanation = scored.explain(chat(), now_seconds=0.0)
    committed = {view.address for view in explanation.candidates if view.committed}
    assert set(picked.scores) == set(ADDRESSES)
    assert max(picked.scores.values()) == picked.scores[picked.address] == 1.0
    assert {a for a, score in picked.scores.items() if score > 0.5} == committed
    assert min(picked.scores.values()) > 0.0


def test_where_a_request_may_not_go_the_score_is_0():
    down = {ADDRESSES[0]: {SignalKind.HEALTHY_RATIO: 0.0}}
    subset = frozenset(ADDRESSES[:3])
    picked = pick(decider(down), hints=RequestHints(subset=subset))
    assert [picked.scores[address] > 0.0 for address in ADDRESSES] == [False, True, True, False]


def test_scores_are_sent_beside_the_destination_and_only_when_there_are_some():
    scored = decider()
    picked = pick(scored)
    encoder = Encoder()
    for told in (picked, replace(picked, scores=None)):
        route = Route(told.endpoints, Phase.REQUEST_BODY, "llama", told)
        message = ProcessingResponse.FromString(encoder.encode(route))
        fields = message.dynamic_metadata["envoy.lb"]
        assert fields["x-gateway-destination-endpoint"] == ",".join(picked.endpoints)
        if told.scores is None:
            assert SCORES_KEY not in fields
        else:
            assert dict(fields[SCORES_KEY]) == picked.scores


def test_refusals_pass_through():
    assert decider().pick(chat("gpt-9"), now_seconds=0.0, draw=0.5).param == "model"
