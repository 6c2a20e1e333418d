"""Kept orders and remembered guards change no pick: the whole fleet scanned picks the same."""

from dataclasses import replace

import full_scan
import msgspec
from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.adapters import LoadedAdapters
from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.topology import Fleet
from router.decide.outcome import Pick, Rejection
from router.decide.picker import Picker
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings


def racked(fleet):
    return Fleet(
        tuple(
            replace(
                backend,
                max_running_requests=24,
                replicas=tuple(
                    replace(it, domain=f"rack-{number % 2}")
                    for number, it in enumerate(backend.replicas)
                ),
            )
            for backend in fleet.backends
        )
    )


FLEET = racked(make_fleet({"A100": 4, "H100": 3, "L40S": 2}, models=("llama", "qwen")))
ADDRESSES = [replica.address for replica in FLEET.replicas()]
addresses = st.sampled_from(ADDRESSES)
hosts = addresses.map(lambda address: address.rpartition(":")[0])
subsets = st.none() | st.none() | st.frozensets(addresses | hosts, min_size=1)

prompts = st.lists(st.integers(0, 1), min_size=1, max_size=6)
picks = st.tuples(
    st.just("pick"),
    st.sampled_from(["llama", "llama", "qwen"]),
    st.sampled_from([200, 4000, 30_000, 300_000]),
    st.sampled_from([1, 100, 900]),
    st.none() | prompts,
    st.builds(
        RequestHints,
        ttft_seconds=st.sampled_from([None, None, 0.2, 5.0]),
        tpot_seconds=st.sampled_from([None, None, 0.02, 0.5]),
        priority=st.sampled_from([0, 0, -1]),
        subset=subsets,
        session=st.sampled_from([None, "s", "t"]),
    ),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(1, 6),
)
readings = st.dictionaries(
    addresses,
    st.fixed_dictionaries(
        {SignalKind.RUNNING_REQUESTS: st.integers(0, 40).map(float)},
        optional={
            SignalKind.HEALTHY_RATIO: st.sampled_from([0.0, 1.0, 1.0, 1.0]),
            SignalKind.WAITING_REQUESTS: st.integers(0, 6).map(float),
            SignalKind.KV_USAGE_RATIO: st.floats(0.0, 1.0),
            SignalKind.POWER_WATTS: st.floats(50.0, 700.0),
            SignalKind.PREFIX_QUERY_TOKENS_TOTAL: st.floats(0.0, 1e6),
            SignalKind.PREFIX_HIT_TOKENS_TOTAL: st.floats(0.0, 1e6),
        },
    ),
)
boards = st.builds(
    PriceBoard,
    ratios=st.dictionaries(st.sampled_from(["rack-0", "rack-1"]), st.sampled_from([1.0, 2.0])),
    shedding=st.frozensets(st.just("rack-1")),
    expires_seconds=st.sampled_from([0.0, 1e6]),
)
observations = st.tuples(st.just("observe"), readings, boards, st.frozensets(addresses))
events = (
    picks
    | picks
    | observations
    | st.tuples(st.just("commit"))
    | st.tuples(st.just("settle"), st.integers(0, 50))
    | st.tuples(st.just("skip"), addresses)
    | st.tuples(st.just("pass"), st.sampled_from([0.001, 0.05, 0.4, 3.0]))
    | st.tuples(st.just("pass_on"), subsets, st.floats(0.0, 1.0, exclude_max=True))
)


class Twins:
    """Two pickers that are told the same; one scans the whole fleet for every pick."""

    def __init__(self, policy, reference):
        settings = DecideSettings(policy=policy)
        self.quick = Picker(FLEET, settings)
        self.slow = Picker(FLEET, settings, policy=reference)
        self.now_seconds = 1.0
        self.running = []

    def both(self, act):
        return act(self.quick), act(self.slow)

    def run(self, event):
        name, *values = event
        getattr(self, name)(*values)

    def observe(self, signals, board, loaded):
        snapshot = make_snapshot(FLEET, signals, at_seconds=self.now_seconds)
        adapters = {
            address: LoadedAdapters(frozenset({"qwen"}), frozenset(), 1, self.now_seconds)
            for address in loaded
        }
        object.__setattr__(snapshot, "adapters", adapters)
        self.both(lambda it: it.observe(snapshot, board, now_seconds=self.now_seconds))

    def commit(self):
        self.both(lambda it: it.commit(now_seconds=self.now_seconds))

    def skip(self, address):
        for _ in range(2):
            self.both(lambda it: it.outliers.skipped(address, now_seconds=self.now_seconds))

    def pass_on(self, subset, draw):
        expected = full_scan.pass_on(
            self.slow.units(),
            subset,
            avoided=self.slow.outliers.avoided(now_seconds=self.now_seconds),
            draw=draw,
            count=3,
        )
        answers = self.both(
            lambda it: it.pass_on(
                RequestHints(subset=subset), now_seconds=self.now_seconds, draw=draw
            )
        )
        assert answers[0] == answers[1]
        assert answers[0] == expected or isinstance(answers[0], Rejection)
        assert bool(expected) is not isinstance(answers[0], Rejection)

    def settle(self, index):
        if self.running:
            pair = self.running.pop(index % len(self.running))
            for picker, ticket in zip((self.quick, self.slow), pair, strict=True):
                picker.settle(ticket, now_seconds=self.now_seconds)

    def pick(self, model, size, output_tokens, path, hints, draw, count):
        facts = chat(model, prompt_bytes=size, output_tokens=output_tokens, hints=hints)
        if path is not None:
            hashes = tuple(hash(tuple(path[: end + 1])) for end in range(len(path)))
            facts = facts._replace(prefix_block_hashes=hashes, prefix_block_ratio=1 / len(path))
        for _ in range(count):
            self.compare(facts, draw)

    def compare(self, facts, draw):
        question = self.slow.question(facts, now_seconds=self.now_seconds, draw=draw)
        expected = None
        if not isinstance(question, Rejection):
            assert list(question.eligible) == full_scan.eligible(question)
            expected = full_scan.least_loaded(question).address
            assert question.least_late() is full_scan.least_late(question)
            assert question.overflow() is full_scan.overflow(question)
            order = question.pool.ranking().best_first(question.demand)
            assert list(order) == full_scan.fallbacks_order(question)
        quick, slow = self.both(lambda it: it.pick(facts, now_seconds=self.now_seconds, draw=draw))
        if not isinstance(quick, Pick) or not isinstance(slow, Pick):
            assert quick == slow
            return
        assert msgspec.structs.replace(quick, ticket=slow.ticket) == slow
        if not self.slow.stalls.addresses:  # a stall may be found within the pick
            assert quick.counterfactual.address == expected
        self.running.append((quick.ticket, slow.ticket))


# `pass` moves the clock; the name is a keyword.
setattr(
    Twins, "pass", lambda self, seconds: setattr(self, "now_seconds", self.now_seconds + seconds)
)


@given(
    rule=st.sampled_from(
        [("dispatch", full_scan.dispatch), ("merit-packing", full_scan.merit_packing)]
    ),
    story=st.lists(events, max_size=30),
)
def test_a_pick_is_what_a_scan_of_the_whole_fleet_would_pick(rule, story):
    twins = Twins(*rule)
    for event in story:
        twins.run(event)
