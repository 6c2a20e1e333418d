"""N workers that have read each other's records decide what one worker would."""

from builders import make_snapshot
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from workers_harness import ADDRESSES, FLEET, Workers, requests, running

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.policies import POLICIES

WORKERS = 3
# No two events have one time: all processes read one clock, of nanoseconds.
TICK_SECONDS = 1e-6
workers = st.integers(0, WORKERS - 1)
draws = st.floats(0, 1, exclude_max=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pick"), workers, requests, draws),
        st.tuples(st.just("settle"), st.integers(0, 100)),
        st.tuples(st.just("serve"), st.integers(0, 100), st.sampled_from(ADDRESSES)),
        st.tuples(st.just("observe"), st.integers(0, 20)),
        st.tuples(st.just("commit")),
        st.tuples(st.just("wait"), st.floats(0.001, 3)),
    ),
    max_size=40,
)


class Story:
    """The same events told to one worker and to several."""

    def __init__(self, policy):
        self.crew = Workers(WORKERS, policy=policy)
        self.alone = Picker(FLEET, self.crew.settings)
        self.now_seconds, self.version, self.flights = 1.0, 0, []

    @property
    def everyone(self):
        return (self.alone, *self.crew.pickers)

    def wait(self, seconds):
        self.now_seconds += seconds

    def commit(self):
        for picker in self.everyone:
            picker.commit(now_seconds=self.now_seconds)

    def observe(self, running_requests):
        self.version += 1
        counters = {
            SignalKind.RUNNING_REQUESTS: float(running_requests),
            SignalKind.GENERATION_TOKENS_TOTAL: 1000.0 * self.version,
            SignalKind.REQUESTS_FINISHED_TOTAL: 3.0 * self.version,
            SignalKind.PROMPT_TOKENS_TOTAL: 4000.0 * self.version,
            SignalKind.PREFIX_QUERY_TOKENS_TOTAL: 4000.0 * self.version,
            SignalKind.PREFIX_HIT_TOKENS_TOTAL: 100.0 * self.version,
        }
        snapshot = make_snapshot(
            FLEET,
            dict.fromkeys(ADDRESSES, counters),
            at_seconds=self.now_seconds,
            version=self.version,
        )
        for picker in self.everyone:
            picker.observe(snapshot, PriceBoard(), now_seconds=self.now_seconds)

    def pick(self, worker, facts, draw):
        picker = self.crew.pickers[worker]
        expected = self.alone.pick(facts, now_seconds=self.now_seconds, draw=draw)
        answer = picker.pick(facts, now_seconds=self.now_seconds, draw=draw)
        if isinstance(expected, Pick):
            assert isinstance(answer, Pick)
            # Each picker keeps the order of its fallbacks for a while, whatever is picked.
            expected = replace(expected, fallbacks=answer.fallbacks)
            assert answer == replace(expected, ticket=answer.ticket)
            self.flights.append((picker, answer, expected))
        else:
            assert answer == expected

    def serve(self, flight, address):
        if self.flights:
            picker, answer, expected = self.flights[flight % len(self.flights)]
            picker.serve(answer, address, now_seconds=self.now_seconds)
            self.alone.serve(expected, address, now_seconds=self.now_seconds)

    def settle(self, flight):
        if self.flights:
            picker, answer, expected = self.flights.pop(flight % len(self.flights))
            picker.settle(answer.ticket, now_seconds=self.now_seconds)
            self.alone.settle(expected.ticket, now_seconds=self.now_seconds)


@given(policy=st.sampled_from(sorted(POLICIES)), steps=steps)
def test_they_decide_as_one(policy, steps):
    story = Story(policy)
    for kind, *what in steps:
        story.wait(TICK_SECONDS)
        getattr(story, kind)(*what)
    story.crew.calm_down(now_seconds=story.now_seconds)
    for picker in story.crew.pickers:
        assert running(picker) == running(story.alone)
        assert picker.commitments() == story.alone.commitments()
    story.crew.board.close()
