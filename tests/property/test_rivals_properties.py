"""The rivals are policies like ours: they pick what may be picked, whatever they see."""

from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from loadtest.simulator.rivals import RIVALS
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.settings import DecideSettings

FLEET = make_fleet({"A100": 2, "H100": 2, "B200": 1})
ADDRESSES = [replica.address for replica in FLEET.replicas()]

loads = st.fixed_dictionaries(
    {
        SignalKind.HEALTHY_RATIO: st.sampled_from([0.0, 1.0]),
        SignalKind.RUNNING_REQUESTS: st.integers(0, 200).map(float),
        SignalKind.WAITING_REQUESTS: st.integers(0, 5).map(float),
        SignalKind.KV_USAGE_RATIO: st.floats(0.0, 1.0),
    }
)


def picker_of(name, readings):
    picker = Picker(FLEET, DecideSettings(), policy=RIVALS[name]())
    snapshot = make_snapshot(FLEET, dict(zip(ADDRESSES, readings, strict=True)))
    picker.observe(snapshot, PriceBoard(), now_seconds=0.0)
    return picker


@given(
    st.sampled_from(sorted(RIVALS)),
    st.lists(loads, min_size=5, max_size=5),
    st.integers(1, 40_000),
    st.integers(1, 2000),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_rival_picks_a_healthy_replica_whenever_there_is_one(
    name, readings, prompt_bytes, output_tokens, draw
):
    answer = picker_of(name, readings).pick(
        chat(prompt_bytes=prompt_bytes, output_tokens=output_tokens), now_seconds=0.0, draw=draw
    )
    healthy = [
        address
        for address, reading in zip(ADDRESSES, readings, strict=True)
        if reading[SignalKind.HEALTHY_RATIO]
    ]
    if healthy:
        assert isinstance(answer, Pick)
        assert answer.address in healthy
    else:
        assert not isinstance(answer, Pick)


@given(st.lists(loads, min_size=5, max_size=5))
def test_long_contexts_and_short_ones_never_meet_in_two_pools(readings):
    awake = [reading | {SignalKind.HEALTHY_RATIO: 1.0} for reading in readings]
    picker = picker_of("two-pool", awake)
    picked = {
        bytes_: picker.pick(chat(prompt_bytes=bytes_), now_seconds=0.0, draw=0.5).address
        for bytes_ in (400, 40_000)
    }
    assert picked[400] != picked[40_000]


@given(st.lists(st.integers(0, 100), min_size=5, max_size=5))
def test_boundaries_are_crossed_only_when_all_batches_are_full(running):
    readings = [
        {SignalKind.HEALTHY_RATIO: 1.0, SignalKind.RUNNING_REQUESTS: float(count)}
        for count in running
    ]
    answer = picker_of("boundary-avoidance", readings).pick(chat(), now_seconds=0.0, draw=0.5)
    chosen = running[ADDRESSES.index(answer.address)]
    open_batches = [count for count in running if count % 8]
    assert chosen == min(open_batches or running)
