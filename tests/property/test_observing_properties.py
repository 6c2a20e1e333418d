"""A snapshot taken in by steps: between them every pick is sound, after them all is as at once."""

import full_scan
from builders import chat, make_fleet, make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.outcome import Pick, Rejection
from router.decide.picker import Picker
from router.decide.settings import DecideSettings

# Several steps' worth of replicas.
FLEET = make_fleet({"A100": 40, "H100": 37}, models=("llama", "qwen"))
ADDRESSES = [replica.address for replica in FLEET.replicas()]

readings = st.dictionaries(
    st.sampled_from(ADDRESSES),
    st.fixed_dictionaries(
        {SignalKind.RUNNING_REQUESTS: st.integers(0, 60).map(float)},
        optional={
            SignalKind.HEALTHY_RATIO: st.sampled_from([0.0, 1.0]),
            SignalKind.WAITING_REQUESTS: st.integers(0, 6).map(float),
            SignalKind.KV_USAGE_RATIO: st.floats(0.0, 1.0),
            SignalKind.GENERATION_TOKENS_TOTAL: st.floats(0.0, 1e6),
            SignalKind.REQUESTS_FINISHED_TOTAL: st.floats(0.0, 1e4),
        },
    ),
    max_size=40,
)
boards = st.builds(
    PriceBoard,
    ratios=st.just({"default": 2.0}),
    expires_seconds=st.sampled_from([0.0, 1e6]),
)
sizes = st.sampled_from([200, 4000, 60_000])
draws = st.floats(0.0, 1.0, exclude_max=True)
NOW = 5.0


def ready(signals):
    picker = Picker(FLEET, DecideSettings())
    picker.observe(make_snapshot(FLEET, signals), PriceBoard(), now_seconds=0.0)
    picker.commit(now_seconds=0.0)
    return picker


def place(picker, size, draw):
    """Where a request goes now, which must be where a scan of all says; it is entered."""
    facts = chat("llama", prompt_bytes=size)
    question = picker.question(facts, now_seconds=NOW, draw=draw)
    answer = picker.pick(facts, now_seconds=NOW, draw=draw)
    if isinstance(question, Rejection):
        assert answer == question
    return answer


def expected(picker, size, draw):
    question = picker.question(chat("llama", prompt_bytes=size), now_seconds=NOW, draw=draw)
    if isinstance(question, Rejection):
        return None
    assert list(question.eligible) == full_scan.eligible(question)
    choice = full_scan.dispatch(question)
    return choice.unit.address, choice.reason, full_scan.least_loaded(question).address


@settings(max_examples=40)
@given(
    before=readings,
    after=readings,
    board=boards,
    asked=st.lists(st.tuples(sizes, draws), min_size=1, max_size=5),
)
def test_between_the_steps_a_pick_is_what_a_scan_of_the_fleet_as_it_is_then_would_pick(
    before, after, board, asked
):
    picker, steps, picks = ready(before), 0, []
    snapshot = make_snapshot(FLEET, after, at_seconds=NOW)
    for _ in picker.observing(snapshot, board, now_seconds=NOW):
        steps += 1
        for size, draw in asked:
            scanned = expected(picker, size, draw)
            answer = place(picker, size, draw)
            if isinstance(answer, Pick):
                found = (answer.address, answer.reason, answer.counterfactual.address)
                assert found == scanned
                picks.append(answer)
        if len(picks) > len(asked):
            assert picker.settle(picks.pop(0).ticket, now_seconds=NOW)

    assert steps > len(ADDRESSES) / 32
    sick = {a for a, kinds in after.items() if kinds.get(SignalKind.HEALTHY_RATIO) == 0.0}
    assert {unit.address for unit in picker.units() if not unit.healthy} == sick


@settings(max_examples=40)
@given(
    before=readings,
    after=readings,
    board=boards,
    asked=st.lists(st.tuples(sizes, draws), min_size=1, max_size=8),
)
def test_what_is_taken_in_by_steps_ends_as_what_is_taken_in_at_once(before, after, board, asked):
    snapshot = make_snapshot(FLEET, after, at_seconds=NOW)
    at_once, by_steps = ready(before), ready(before)
    at_once.observe(snapshot, board, now_seconds=NOW)
    for _ in by_steps.observing(snapshot, board, now_seconds=NOW):
        by_steps.question(chat("llama"), now_seconds=NOW, draw=0.5)
    for size, draw in asked:
        first, second = place(at_once, size, draw), place(by_steps, size, draw)
        if isinstance(first, Pick) and isinstance(second, Pick):
            assert replace(first, ticket=None) == replace(second, ticket=None)
        else:
            assert first == second


def counters(seconds):
    """Every replica has ended ten answers of 100 tokens per second."""
    return {
        address: {
            SignalKind.GENERATION_TOKENS_TOTAL: 1000.0 * seconds,
            SignalKind.REQUESTS_FINISHED_TOTAL: 10.0 * seconds,
        }
        for address in ADDRESSES
    }


@settings(max_examples=20)
@given(first=readings, second=readings)
def test_a_snapshot_that_is_overtaken_gives_way_to_the_newer_one(first, second):
    picker, plain = ready(counters(0)), ready(counters(0))
    older = make_snapshot(FLEET, {**counters(1), **first}, at_seconds=1.0)
    newer = make_snapshot(FLEET, {**counters(2), **second}, at_seconds=2.0)
    begun = picker.observing(older, PriceBoard(), now_seconds=1.0)
    next(begun)
    picker.observe(newer, PriceBoard(), now_seconds=2.0)
    plain.observe(newer, PriceBoard(), now_seconds=2.0)

    assert list(begun) == []
    states = [[(it.running, it.healthy) for it in one.units()] for one in (picker, plain)]
    assert states[0] == states[1]
    # What its counters had grown by was not taken in halfway, and so is in what the next brings.
    tokens = [
        one.workload.of("llama").mix(now_seconds=2.0).output_tokens for one in (picker, plain)
    ]
    assert tokens[0] == tokens[1]
