from hypothesis import example, given
from hypothesis import strategies as st

from fleet.signals import SignalKind
from telemetry.counters import CounterBook, RateWindow, advance, begin
from telemetry.reading import Reading

WINDOW = RateWindow()
TOKENS = SignalKind.GENERATION_TOKENS_TOTAL
RATE = SignalKind.GENERATION_TOKENS_PER_SECOND
SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["scrape", "prometheus"]),
        st.floats(0, 1e9),
        st.floats(0, 1e4),
        st.sampled_from([(), ("0",), ("0", "1")]),
    ),
    max_size=40,
)


def reading(value, at, origin=()):
    return Reading("a:1", TOKENS, value, at, origin)


@given(SAMPLES)
@example([("prometheus", 6e-248, 0.0, ()), ("scrape", 1.0, 6.0, ())])  # once lost by rounding
def test_whatever_sources_say_totals_never_shrink_and_rates_are_never_negative(samples):
    book = CounterBook(WINDOW)
    last = None
    for source, value, at, origin in samples:
        signals = dict(book.record(source, reading(value, at, origin)).signals)
        if TOKENS in signals:
            assert last is None or signals[TOKENS].value >= last
            last = signals[TOKENS].value
        if RATE in signals:
            assert signals[RATE].value >= 0


@given(st.lists(st.tuples(st.floats(0.2, 5), st.floats(0, 1e4)), min_size=1, max_size=30))
def test_without_resets_the_total_is_the_counter_itself(steps):
    at, value = 0.0, 50.0
    track = begin(reading(value, at))
    for seconds, growth in steps:
        at, value = at + seconds, value + growth
        track = advance(track, reading(value, at), WINDOW)
    assert abs(track.total - value) <= 1e-9 * value


@given(
    st.lists(st.tuples(st.floats(0.2, 5), st.floats(0, 1e4)), min_size=1, max_size=20),
    st.lists(st.integers(0, 3), min_size=20, max_size=20),
)
def test_answers_that_are_repeated_change_nothing(steps, repeats):
    once = repeated = begin(reading(0.0, 0.0))
    at = value = 0.0
    for (seconds, growth), times in zip(steps, repeats, strict=False):
        at, value = at + seconds, value + growth
        once = advance(once, reading(value, at), WINDOW)
        for _ in range(times + 1):
            repeated = advance(repeated, reading(value, at), WINDOW)
    assert repeated == once


@given(st.floats(1, 1e5), st.integers(1, 30), st.floats(0.2, 10))
def test_a_steady_counter_has_its_true_rate(per_second, count, spacing):
    track = begin(reading(0.0, 0.0))
    for number in range(1, count + 1):
        track = advance(track, reading(per_second * spacing * number, spacing * number), WINDOW)
    if track.rate is not None:
        assert abs(track.rate - per_second) <= 1e-6 * per_second
    else:
        assert count * spacing < WINDOW.min_seconds + spacing
