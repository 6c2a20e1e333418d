"""Whatever happens: stalls are of known replicas, end with their requests, and are not made up."""

from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.settings import DecideSettings

FLEET = make_fleet({"H100": 2, "B200": 1})
ADDRESSES = [replica.address for replica in FLEET.replicas()]

events = st.lists(
    st.tuples(
        st.sampled_from(["pick", "pick", "settle", "move", "observe"]),
        st.floats(min_value=0, max_value=30),
        st.integers(min_value=0, max_value=1000),
    ),
    max_size=60,
)


@given(events=events)
def test_requests_always_go_somewhere_and_stalls_end_with_them(events):
    picker, now_seconds = Picker(FLEET, DecideSettings()), 0.0
    picks, tokens = [], 0
    for kind, elapsed_seconds, number in events:
        now_seconds += elapsed_seconds
        if kind == "pick":
            pick = picker.pick(chat(), now_seconds=now_seconds, draw=0.5)
            assert isinstance(pick, Pick)
            assert pick.address not in picker.stalls.addresses or len(
                picker.stalls.addresses
            ) == len(ADDRESSES)
            picks.append(pick)
        elif kind == "settle" and picks:
            picker.settle(picks.pop(number % len(picks)).ticket, now_seconds=now_seconds)
        elif kind == "move" and picks:
            address = ADDRESSES[number % len(ADDRESSES)]
            picker.serve(picks[number % len(picks)], address, now_seconds=now_seconds)
        elif kind == "observe":
            tokens += number % 2
            reading = {SignalKind.GENERATION_TOKENS_TOTAL: float(tokens)}
            snapshot = make_snapshot(FLEET, at_seconds=now_seconds, default=reading)
            picker.observe(snapshot, PriceBoard(), now_seconds=now_seconds)
        assert picker.stalls.addresses <= set(ADDRESSES)
    for pick in picks:
        picker.settle(pick.ticket, now_seconds=now_seconds)
    assert not picker.stalls.addresses


@given(
    gap_seconds=st.floats(min_value=0.02, max_value=20),
    life_gaps=st.integers(min_value=1, max_value=60),
)
def test_steady_answers_of_one_length_never_look_stalled(gap_seconds, life_gaps):
    picker, flights = Picker(FLEET, DecideSettings()), []
    for number in range(3 * life_gaps + 60):
        now_seconds = number * gap_seconds
        if len(flights) == life_gaps:
            picker.settle(flights.pop(0).ticket, now_seconds=now_seconds)
        flights.append(picker.pick(chat(), now_seconds=now_seconds, draw=0.5))
    assert picker.stalls.found_total == 0
