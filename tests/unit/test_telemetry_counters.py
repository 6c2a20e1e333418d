import pytest

from fleet.signals import SignalKind
from telemetry.counters import CounterBook, RateWindow, advance, begin
from telemetry.reading import Reading, RejectionReason

WINDOW = RateWindow(min_seconds=1.0, max_seconds=60.0, spacing_seconds=0.1, takeover_seconds=5.0)
TOKENS = SignalKind.GENERATION_TOKENS_TOTAL
RATE = SignalKind.GENERATION_TOKENS_PER_SECOND


def reading(value, at, *, kind=TOKENS, origin=()):
    return Reading("a:1", kind, value, at, origin)


def track_of(*points):
    first, *rest = [reading(value, at) for value, at in points]
    track = begin(first)
    for each in rest:
        track = advance(track, each, WINDOW)
    return track


def test_a_first_sample_gives_a_total_and_no_rate():
    track = track_of((100, 0))
    assert (track.total, track.rate) == (100, None)


def test_a_rate_is_growth_over_the_window():
    track = track_of((100, 0), (150, 1))
    assert (track.total, track.rate, track.rate_observed_seconds) == (150, 50, 1)


def test_no_rate_is_taken_over_less_than_the_shortest_window():
    assert track_of((100, 0), (150, 0.5)).rate is None
    assert track_of((100, 0), (150, 0.5), (200, 1.0)).rate == 100


def test_a_reset_skips_its_window_keeps_the_total_and_leaves_the_last_rate_to_age():
    track = track_of((100, 0), (150, 1), (5, 2))
    assert (track.total, track.rate, track.rate_observed_seconds) == (150, 50, 1)
    assert track.break_reason is RejectionReason.RESET
    track = advance(track, reading(35, 3), WINDOW)
    assert (track.total, track.rate, track.break_reason) == (180, 30, None)


def test_a_sample_seen_again_changes_nothing():
    track = track_of((100, 0), (150, 1))
    assert advance(track, reading(150, 1), WINDOW) == track
    assert advance(track, reading(150, 1.05), WINDOW) == track


def test_a_sample_from_the_past_changes_nothing():
    track = track_of((100, 0), (150, 1))
    assert advance(track, reading(100, 0.5), WINDOW) == track


def test_other_boards_are_another_counter_even_when_it_is_larger():
    track = begin(reading(100, 0, origin=("G",)))
    track = advance(track, reading(900, 1, origin=("H",)), WINDOW)
    assert (track.total, track.rate) == (100, None)


def test_growth_faster_than_physics_is_another_counter():
    energy = SignalKind.ENERGY_JOULES_TOTAL
    track = begin(reading(100, 0, kind=energy))
    track = advance(track, reading(1e9, 1, kind=energy), WINDOW)
    assert (track.total, track.rate, track.break_reason) == (100, None, RejectionReason.JUMP)


def test_a_long_gap_counts_in_the_total_but_gives_no_rate():
    track = track_of((100, 0), (150, 1), (10_000, 500))
    assert (track.total, track.rate, track.rate_observed_seconds) == (10_000, 50, 1)


def published(book, source, value, at):
    return dict(book.record(source, reading(value, at)).signals)


def test_one_source_leads_and_the_other_is_not_mixed_in():
    book = CounterBook(WINDOW)
    published(book, "scrape", 100, 0.0)
    assert published(book, "prometheus", 90, 0.5) == {}
    assert published(book, "scrape", 200, 1.0)[RATE].value == 100
    assert published(book, "prometheus", 190, 1.5) == {}


def test_another_source_takes_over_without_a_step_when_the_leader_falls_behind():
    book = CounterBook(WINDOW)
    published(book, "scrape", 100, 0.0)
    published(book, "scrape", 200, 1.0)
    for at in range(1, 6):
        assert published(book, "prometheus", 1000 + 10 * at, at) == {}
    taken = published(book, "prometheus", 1070, 7.0)
    assert taken[TOKENS].value == 200  # continues where the leader was
    assert taken[RATE].value == 10
    assert published(book, "prometheus", 1080, 8.0)[TOKENS].value == 210


def test_a_forgotten_replica_starts_anew():
    book = CounterBook(WINDOW)
    published(book, "scrape", 100, 0.0)
    book.forget({"a:1"})
    assert published(book, "scrape", 7, 1.0)[TOKENS].value == 7


@pytest.mark.parametrize("kind", [SignalKind.PREEMPTIONS_TOTAL, SignalKind.PREFIX_HIT_TOKENS_TOTAL])
def test_counters_without_a_rate_kind_publish_their_total_only(kind):
    book = CounterBook(WINDOW)
    book.record("scrape", reading(1, 0, kind=kind))
    recorded = book.record("scrape", reading(5, 2, kind=kind))
    assert [name for name, _ in recorded.signals] == [kind]
