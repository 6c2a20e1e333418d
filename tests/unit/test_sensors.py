import pytest

from loadtest.simulator.sensors import Bias, DcgmSensor, Outage, SensorModel

EXACT = SensorModel(gain_spread_ratio=0.0)


def sensor_of(model=EXACT, *, board="GPU-1", **options):
    return DcgmSensor(board, model, seed=0, idle_watts=100.0, full_watts=700.0, **options)


def play(sensor, *, until_seconds, watts):
    """Readings at every due time; `watts(t)` holds for the second that ends at t."""
    readings = {}
    joules, last_seconds = 0.0, 0.0
    while sensor.due_seconds <= until_seconds:
        now_seconds = sensor.due_seconds
        joules += watts(now_seconds) * (now_seconds - last_seconds)
        last_seconds = now_seconds
        sensor.sample(now_seconds=now_seconds, joules=joules)
        readings[now_seconds] = sensor.read(now_seconds=now_seconds)
    return readings


def test_nothing_is_known_before_the_first_collection():
    sensor = sensor_of()
    assert sensor.read(now_seconds=0.0) is None
    sensor.sample(now_seconds=0.5, joules=50.0)
    assert sensor.read(now_seconds=0.5) is None
    assert sensor.due_seconds == 1.0


def test_a_sound_sensor_tells_power_energy_and_when_it_looked():
    readings = play(sensor_of(), until_seconds=3.0, watts=lambda _: 250.5)
    assert [r.at_seconds for r in readings.values()] == [1.0, 2.0, 3.0]
    assert readings[3.0].power_watts == pytest.approx(250.5)
    assert readings[3.0].energy_millijoules == 751_500
    assert 30 < readings[3.0].temperature_celsius < 46


def test_a_scrape_between_collections_sees_the_last_one_however_old():
    sensor = sensor_of(SensorModel(gain_spread_ratio=0.0, interval_seconds=30.0))
    readings = play(sensor, until_seconds=30.0, watts=lambda _: 400.0)
    assert sensor.read(now_seconds=59.9) == readings[30.0]


def test_power_is_that_of_the_last_second_only_even_at_long_intervals():
    model = SensorModel(gain_spread_ratio=0.0, interval_seconds=10.0)
    sensor = sensor_of(model)
    assert sensor.due_seconds == 9.0  # the window's start, then the collection
    readings = play(sensor, until_seconds=10.0, watts=lambda t: 700.0 if t > 9.0 else 100.0)
    assert readings[9.0] is None
    assert readings[10.0].power_watts == pytest.approx(700.0)
    assert readings[10.0].energy_millijoules == 1_600_000


def test_an_unasked_sample_refines_and_does_no_harm():
    sensor = sensor_of()
    sensor.sample(now_seconds=1.2, joules=120.0)
    assert sensor.read(now_seconds=1.2).at_seconds == 1.2
    assert sensor.due_seconds == 2.0
    sensor.sample(now_seconds=7.5, joules=750.0)
    assert sensor.due_seconds == 8.0


def test_boards_differ_by_their_gain_and_keep_it():
    model = SensorModel()
    gains = [sensor_of(model, board=f"GPU-{index}").gain for index in range(50)]
    assert gains == [sensor_of(model, board=f"GPU-{index}").gain for index in range(50)]
    assert all(0.95 <= gain <= 1.05 for gain in gains)
    assert max(gains) - min(gains) > 0.07
    reading = play(sensor_of(model), until_seconds=1.0, watts=lambda _: 300.0)[1.0]
    assert reading.power_watts == pytest.approx(300.0 * gains[1], abs=1e-3)
    assert reading.energy_millijoules == int(300e3 * gains[1])


def test_power_is_rounded_to_the_step():
    model = SensorModel(gain_spread_ratio=0.0, power_step_watts=5.0)
    readings = play(sensor_of(model), until_seconds=1.0, watts=lambda _: 253.0)
    assert readings[1.0].power_watts == 255.0


def test_a_bias_raises_power_and_energy_while_it_lasts_and_no_longer():
    sensor = sensor_of(biases=[Bias(2.0, 4.0)])
    readings = play(sensor, until_seconds=6.0, watts=lambda _: 100.0)
    assert [round(r.power_watts, 3) for r in readings.values()] == [100, 100, 110, 110, 100, 100]
    assert readings[6.0].energy_millijoules == 620_000
    assert len({r.temperature_celsius for r in readings.values()}) == 1


def test_a_bias_of_part_of_an_interval_counts_for_that_part():
    model = SensorModel(gain_spread_ratio=0.0, interval_seconds=10.0, window_seconds=10.0)
    sensor = sensor_of(model, biases=[Bias(5.0, 100.0, ratio=1.2)])
    readings = play(sensor, until_seconds=10.0, watts=lambda _: 100.0)
    assert readings[10.0].power_watts == pytest.approx(110.0)


def test_an_outage_hides_the_reading_and_the_counter_goes_on():
    sensor = sensor_of(outages=[Outage(1.5, 3.5)])
    readings = play(sensor, until_seconds=4.0, watts=lambda _: 100.0)
    assert [r is None for r in readings.values()] == [False, True, True, False]
    assert readings[4.0].energy_millijoules == 400_000
    # It ends before the next collection: what was not collected is not there.
    sensor = sensor_of(outages=[Outage(1.5, 2.5)])
    play(sensor, until_seconds=2.0, watts=lambda _: 100.0)
    assert sensor.read(now_seconds=2.7) is None


def test_a_lost_collection_gives_no_value_until_the_next():
    model = SensorModel(loss_ratio=0.3)
    readings = play(sensor_of(model), until_seconds=2000.0, watts=lambda _: 100.0)
    lost = sum(reading is None for reading in readings.values())
    assert lost / len(readings) == pytest.approx(0.3, abs=0.04)
    assert readings == play(sensor_of(model), until_seconds=2000.0, watts=lambda _: 100.0)
    all_lost = play(sensor_of(SensorModel(loss_ratio=1.0)), until_seconds=9.0, watts=lambda _: 1.0)
    assert set(all_lost.values()) == {None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("interval_seconds", 0.0),
        ("window_seconds", float("inf")),
        ("power_step_watts", -1.0),
        ("gain_spread_ratio", 1.5),
        ("loss_ratio", float("nan")),
    ],
)
def test_a_sensor_that_cannot_be_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        SensorModel(**{field: value})
