"""Whatever the load, the readings and the policy: the picker's invariants hold."""

from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.outcome import Pick, Rejection
from router.decide.picker import Picker
from router.decide.policies import POLICIES
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings

FLEET = make_fleet({"A100": 2, "H100": 2, "B200": 1}, models=("llama", "qwen"))
ADDRESSES = [replica.address for replica in FLEET.replicas()]

readings = st.dictionaries(
    st.sampled_from(ADDRESSES),
    st.fixed_dictionaries(
        {},
        optional={
            SignalKind.HEALTHY_RATIO: st.sampled_from([0.0, 1.0]),
            SignalKind.RUNNING_REQUESTS: st.floats(min_value=0, max_value=1e6),
            SignalKind.WAITING_REQUESTS: st.floats(min_value=0, max_value=1e6),
            SignalKind.KV_USAGE_RATIO: st.floats(min_value=0, max_value=1),
            SignalKind.KV_CAPACITY_TOKENS: st.floats(min_value=0, max_value=1e7),
            SignalKind.POWER_WATTS: st.floats(min_value=0, max_value=2000),
            SignalKind.GENERATION_TOKENS_PER_SECOND: st.floats(min_value=0, max_value=1e5),
            SignalKind.GENERATION_TOKENS_TOTAL: st.floats(min_value=0, max_value=1e12),
            SignalKind.REQUESTS_FINISHED_TOTAL: st.floats(min_value=0, max_value=1e9),
        },
    ),
)
requests = st.builds(
    chat,
    st.sampled_from(["llama", "qwen", "none"]),
    prompt_bytes=st.integers(min_value=0, max_value=500_000),
    output_tokens=st.integers(min_value=0, max_value=8000),
    hints=st.builds(
        RequestHints,
        ttft_seconds=st.none() | st.floats(min_value=0.001, max_value=100),
        tpot_seconds=st.none() | st.floats(min_value=0.0001, max_value=10),
        priority=st.integers(min_value=-2, max_value=2),
        subset=st.none() | st.frozensets(st.sampled_from(ADDRESSES)),
    ),
)


@given(
    policy=st.sampled_from(sorted(POLICIES)),
    observed=st.lists(readings, max_size=3),
    asked=st.lists(
        st.tuples(requests, st.floats(min_value=0, max_value=1, exclude_max=True)), max_size=12
    ),
)
def test_only_eligible_replicas_are_picked_and_the_ledger_balances(policy, observed, asked):
    picker = Picker(FLEET, DecideSettings(policy=policy))
    now_seconds, picks = 0.0, []
    for round_number, signals in enumerate(observed):
        now_seconds = float(round_number)
        picker.observe(
            make_snapshot(FLEET, signals, at_seconds=now_seconds),
            PriceBoard(),
            now_seconds=now_seconds,
        )
        picker.commit(now_seconds=now_seconds)
    sick = {a for a, s in (observed[-1] if observed else {}).items() if s.get("healthy_ratio") == 0}
    for facts, draw in asked:
        answer = picker.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(answer, Rejection):
            continue
        assert isinstance(answer, Pick)
        picks.append(answer)
        assert answer.address not in sick
        assert facts.hints.subset is None or answer.address in facts.hints.subset
        assert answer.dynamic_joules >= 0.0

    assert picker.ledger.running() == len(picks)
    for pick in picks:
        assert picker.settle(pick.ticket, now_seconds=now_seconds + 1)
    assert picker.ledger.running() == 0


@given(
    policy=st.sampled_from(["dispatch", "merit-packing", "greedy-marginal"]),
    signals=readings,
    order=st.permutations(range(3)),
    asked=st.lists(requests, max_size=8),
)
def test_the_order_of_declaration_does_not_matter(policy, signals, order, asked):
    shuffled = type(FLEET)(tuple(FLEET.backends[index] for index in order))
    answers = []
    for fleet in (FLEET, shuffled):
        picker = Picker(fleet, DecideSettings(policy=policy))
        picker.observe(make_snapshot(fleet, signals), PriceBoard(), now_seconds=0)
        picker.commit(now_seconds=0)
        found = [picker.pick(facts, now_seconds=0, draw=0.5) for facts in asked]
        answers.append([getattr(pick, "address", pick) for pick in found])

    assert answers[0] == answers[1]


@given(signals=readings, facts=requests)
def test_explain_names_the_replica_that_pick_then_takes(signals, facts):
    picker = Picker(FLEET, DecideSettings())
    picker.observe(make_snapshot(FLEET, signals), PriceBoard(), now_seconds=0)
    picker.commit(now_seconds=0)

    explanation = picker.explain(facts, now_seconds=0)
    answer = picker.pick(facts, now_seconds=0, draw=0.5)

    if isinstance(explanation, Rejection):
        assert answer == explanation
    elif isinstance(answer, Pick):
        assert explanation.chosen == answer.address
        assert explanation.reason == answer.reason.value
