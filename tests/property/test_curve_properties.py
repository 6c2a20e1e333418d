"""Arrivals drawn from a curve, and heat from a fault, whatever the numbers are."""

from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.simulator.climate import CoolingFault
from loadtest.traces.rate_curve import RatePoint, curve_arrivals, mean_requests_per_second

RATES = st.lists(st.one_of(st.just(0.0), st.floats(0.01, 50.0)), min_size=2, max_size=8).filter(any)


@settings(max_examples=40, deadline=None)
@given(
    rates=RATES,
    load=st.floats(0.5, 40.0),
    compression=st.floats(1.0, 500.0),
    before=st.floats(0.0, 100.0),
    seed=st.integers(0, 50),
)
def test_a_curve_goes_on_for_ever_in_order_and_the_same_each_time(
    rates, load, compression, before, seed
):
    points = [RatePoint(600.0 * number, rate) for number, rate in enumerate(rates)]

    def first():
        stream = curve_arrivals(
            points,
            requests_per_second=load,
            compression_ratio=compression,
            from_seconds=-before,
            seed=seed,
            model="m",
        )
        return list(islice(stream, 60))

    found = first()
    times = [one.at_seconds for one in found]
    assert found == first()
    assert len(times) == 60
    assert times[0] >= -before
    assert all(one <= other for one, other in pairwise(times))
    # Nothing comes where the curve is 0 on both sides.
    length = points[-1].at_seconds
    for at in times:
        index = int(at * compression % length // 600.0)
        around = rates[max(0, index - 1) : index + 3]
        assert any(around)


@given(rates=RATES, factor=st.floats(0.1, 10.0))
def test_the_mean_of_a_curve_scales_with_it(rates, factor):
    points = [RatePoint(600.0 * number, rate) for number, rate in enumerate(rates)]
    larger = [RatePoint(at, rate * factor) for at, rate in points]
    mean = mean_requests_per_second(points)
    assert min(rates) <= mean * (1 + 1e-9)
    assert mean <= max(rates) * (1 + 1e-9)
    assert abs(mean_requests_per_second(larger) - factor * mean) <= 1e-9 * max(1.0, factor * mean)


@given(
    start=st.floats(0.0, 1e4),
    length=st.floats(1.0, 1e4),
    kelvin=st.floats(0.0, 20.0),
    per_watt=st.floats(0.0, 0.01),
    watts=st.tuples(st.floats(0.0, 1e4), st.floats(0.0, 1e4)),
    now=st.floats(-1e4, 3e4),
)
def test_a_fault_warms_only_while_it_lasts_and_more_the_more_is_drawn(
    start, length, kelvin, per_watt, watts, now
):
    fault = CoolingFault(
        rack="a",
        start_seconds=start,
        end_seconds=start + length,
        kelvin=kelvin,
        kelvin_per_watt=per_watt,
    )
    low, high = (fault.rise_celsius(one, now_seconds=now) for one in sorted(watts))
    assert 0.0 <= low <= high
    if not start <= now < start + length:
        assert high == 0.0
    else:
        assert low >= kelvin
