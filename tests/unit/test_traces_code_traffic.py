import pytest
from traffic_statistics import azure_trace, excess_variance, gaps, mean

from loadtest.arrivals import azure_code_like, azure_code_like_stream, azure_like, azure_like_stream
from loadtest.outcome import nearest_rank
from loadtest.traces import azure_code
from loadtest.traces.modifiers import limit, mean_requests_per_second


@pytest.fixture(scope="module")
def code():
    return azure_trace("code")


@pytest.fixture(scope="module")
def drawn(code):
    rate = mean_requests_per_second(code)
    return [
        azure_code_like(len(code), requests_per_second=rate, seed=seed, models={"m": 1})
        for seed in range(12)
    ]


def kolmogorov_smirnov(one, other):
    """Largest distance of the two empirical distributions."""
    one, other = sorted(one), sorted(other)
    values = sorted({*one, *other})
    distance, i, j = 0.0, 0, 0
    for value in values:
        while i < len(one) and one[i] <= value:
            i += 1
        while j < len(other) and other[j] <= value:
            j += 1
        distance = max(distance, abs(i / len(one) - j / len(other)))
    return distance


@pytest.mark.parametrize("field", ["prompt_tokens", "output_tokens"])
def test_drawn_lengths_are_distributed_as_in_the_trace(code, drawn, field):
    real = [getattr(a, field) for a in code]
    fitted = [getattr(a, field) for d in drawn for a in d]
    assert kolmogorov_smirnov(real, fitted) < 0.015
    assert mean(fitted) == pytest.approx(mean(real), rel=0.03)
    for percent in (10, 50, 90, 99):
        assert nearest_rank(sorted(fitted), percent=percent) == pytest.approx(
            nearest_rank(sorted(real), percent=percent), rel=0.06, abs=1
        )


def test_drawn_gaps_are_distributed_as_in_the_trace(code):
    # The stream: a list is stretched to a rate, which moves the sharp peak at 0.1 s.
    rate = azure_code.REQUESTS_PER_SECOND
    stream = azure_code_like_stream(requests_per_second=rate, seed=0, models={"m": 1})
    assert kolmogorov_smirnov(gaps(code), gaps(list(limit(stream, count=50_000)))) < 0.03
    assert rate == pytest.approx(mean_requests_per_second(code), rel=0.02)


def test_drawn_counts_are_as_bursty_as_those_of_the_trace(code, drawn):
    for window_seconds in (0.1, 1, 10, 60):
        fitted = mean([excess_variance(d, window_seconds=window_seconds) for d in drawn])
        real = excess_variance(code, window_seconds=window_seconds)
        assert fitted == pytest.approx(real, rel=0.35), window_seconds


@pytest.mark.parametrize(
    ("stream", "drawn"),
    [(azure_like_stream, azure_like), (azure_code_like_stream, azure_code_like)],
)
def test_a_stream_is_the_list_before_it_was_stretched(stream, drawn):
    options = {"requests_per_second": 10.0, "seed": 4, "models": {"a": 1, "b": 2}}
    streamed = list(limit(stream(**options), count=500))
    listed = drawn(500, **options)
    assert [a[1:] for a in streamed] == [a[1:] for a in listed]
    factor = streamed[-1].at_seconds / listed[-1].at_seconds
    assert [a.at_seconds for a in streamed] == pytest.approx(
        [a.at_seconds * factor for a in listed]
    )


@pytest.mark.parametrize("stream", [azure_like_stream, azure_code_like_stream])
def test_a_stream_has_the_wanted_rate_over_long_times(stream):
    arrivals = limit(stream(requests_per_second=40.0, seed=1, models={"m": 1}), count=150_000)
    assert mean_requests_per_second(arrivals) == pytest.approx(40.0, rel=0.1)


@pytest.mark.parametrize("stream", [azure_like_stream, azure_code_like_stream])
def test_a_stream_that_cannot_be_is_refused_when_it_is_made(stream):
    with pytest.raises(ValueError, match="requests_per_second is 0"):
        stream(requests_per_second=0, seed=1, models={"m": 1})
    with pytest.raises(ValueError, match="model weights are"):
        stream(requests_per_second=1, seed=1, models={})
