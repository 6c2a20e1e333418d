"""A board's sensor under a virtual clock, whatever the board does."""

from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.sensors import Bias, DcgmSensor, Outage, SensorModel

models = st.builds(
    SensorModel,
    interval_seconds=st.floats(0.05, 60),
    window_seconds=st.floats(0.02, 5),
    gain_spread_ratio=st.floats(0, 0.05),
    loss_ratio=st.floats(0, 1),
)
powers = st.lists(st.floats(0, 1000), min_size=1, max_size=60)
spans = st.tuples(st.floats(0, 500), st.floats(0, 500)).map(sorted)
outages = st.lists(spans.map(lambda span: Outage(*span)), max_size=3)
biases = st.lists(spans.map(lambda span: Bias(*span, ratio=1.1)), max_size=2)


def play(model, watts, outages=(), biases=(), seed=0):
    """Every (time, reading) at the due times, power being constant between two of them."""
    sensor = DcgmSensor(
        "GPU-1",
        model,
        seed=seed,
        idle_watts=100.0,
        full_watts=700.0,
        outages=outages,
        biases=biases,
    )
    joules = last_seconds = 0.0
    found = []
    for drawn in watts:
        now_seconds = sensor.due_seconds
        assert now_seconds > last_seconds
        joules += drawn * (now_seconds - last_seconds)
        last_seconds = now_seconds
        sensor.sample(now_seconds=now_seconds, joules=joules)
        found.append((now_seconds, sensor.read(now_seconds=now_seconds)))
    return found, joules, sensor


@given(model=models, watts=powers, outages=outages, biases=biases)
def test_readings_stay_within_what_was_drawn_and_the_counter_never_falls(
    model, watts, outages, biases
):
    found, joules, sensor = play(model, watts, outages, biases)
    worst = 1.0 + 0.1 * len(biases)
    counter = 0
    for now_seconds, reading in found:
        if any(start <= now_seconds < end for start, end in outages):
            assert reading is None
        if reading is not None:
            # Differences of a growing sum: rounding grows with the sum.
            slack = 0.001 + 1e-9 * (1.0 + joules) / min(model.window_seconds, 0.02)
            assert min(watts) * sensor.gain - slack <= reading.power_watts
            assert reading.power_watts <= max(watts) * sensor.gain * worst + slack
            assert reading.energy_millijoules >= counter
            counter = reading.energy_millijoules
            assert reading.at_seconds <= now_seconds
    assert counter <= joules * 1e3 * sensor.gain * worst * (1 + 1e-9) + 1


@given(model=models, watts=powers, seed=st.integers())
def test_the_seed_alone_decides(model, watts, seed):
    assert play(model, watts, seed=seed)[0] == play(model, watts, seed=seed)[0]


@given(interval=st.floats(0.05, 60), window=st.floats(0.02, 5), count=st.integers(1, 100))
def test_collections_come_once_per_interval(interval, window, count):
    model = SensorModel(interval_seconds=interval, window_seconds=window)
    found, _, _ = play(model, [100.0] * count)
    collected = sorted({reading.at_seconds for _, reading in found if reading is not None})
    assert collected == [interval * (index + 1) for index in range(len(collected))]
    assert len(collected) >= count // 2
