import json

import msgspec
import pytest

from fleet.signals import COUNTERS, SignalKind
from telemetry.queries import Query, default_queries
from telemetry.query_answers import Entry, EntryValue
from telemetry.series import Pairing, SeriesBook


def query_of(kind):
    (query,) = [query for query in default_queries().queries if query.kind is kind]
    return query


def row(value, part, **labels):
    return entry(value, headrace_part=part, **labels)


def entry(value, **labels):
    return Entry(msgspec.Raw(json.dumps(labels).encode()), EntryValue(0.0, str(value)))


def samples_of(query, entries, book=None):
    pairing = Pairing(book or SeriesBook(query))
    pairing.add(entries)
    return list(pairing.samples(evaluated_seconds=100.0))


def test_every_measured_kind_is_asked_for_exactly_once():
    kinds = [query.kind for query in default_queries().queries]
    derived = {rate for rate in COUNTERS.values() if rate is not None}
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == set(SignalKind) - derived


def test_value_and_age_are_paired_by_their_labels():
    query = query_of(SignalKind.KV_USAGE_RATIO)
    rows = [
        row(0.5, "value-0", __name__="vllm:kv_cache_usage_perc", instance="a:1"),
        row(0.6, "value-1", __name__="vllm:gpu_cache_usage_perc", instance="b:1"),
        row(3.0, "age-0", instance="a:1"),
        row(7.0, "age-1", instance="b:1"),
    ]
    samples = samples_of(query, rows)
    assert [
        (s.labels["instance"], s.value, s.family.rank, s.observed_seconds) for s in samples
    ] == [
        ("a:1", 0.5, 0, 97.0),
        ("b:1", 0.6, 1, 93.0),
    ]


def test_a_value_without_an_age_is_not_used_and_the_future_is_now():
    query = query_of(SignalKind.RUNNING_REQUESTS)
    rows = [
        row(1, "value-0", instance="a:1"),
        row(2, "value-0", instance="b:1"),
        row(-5.0, "age-0", instance="b:1"),
        entry(9.0, instance="stray"),
        row(1, "value-77", instance="a:1"),
    ]
    samples = samples_of(query, rows)
    assert [(s.labels["instance"], s.observed_seconds) for s in samples] == [("b:1", 100.0)]


def test_matchers_go_into_every_selector():
    for query in default_queries('cluster="c"').queries:
        assert all(family.selector.endswith('{cluster="c"}') for family in query.families)


def test_a_signal_can_have_own_texts_or_none():
    own = default_queries().overridden(SignalKind.POWER_WATTS, "capper:gpu_watts", scale=1e-3)
    (power,) = [query for query in own.queries if query.kind is SignalKind.POWER_WATTS]
    assert power.families[0].selector == "capper:gpu_watts"
    assert power.families[0].scale == 1e-3
    without = default_queries().overridden(SignalKind.POWER_WATTS)
    assert SignalKind.POWER_WATTS not in {query.kind for query in without.queries}


@pytest.mark.parametrize("query", default_queries().queries, ids=lambda query: query.kind)
def test_every_family_appears_with_its_value_and_its_age(query: Query):
    text = query.promql()
    for family in query.families:
        assert f"({family.selector})" in text
        for label in family.summed:
            assert f"sum without ({label}) ({family.selector})" in text
        assert f"time() - timestamp({family.selector})" in text


def test_series_are_known_again_and_those_of_replicas_that_went_are_forgotten():
    query = query_of(SignalKind.RUNNING_REQUESTS)
    book = SeriesBook(query)

    def answer(number, value):
        labels = {"instance": f"a:{number}", "job": "vllm"}
        return [row(value, "value-0", **labels), row(1.0, "age-0", **labels)]

    (first,) = samples_of(query, answer(1, 3), book)
    (again,) = samples_of(query, answer(1, 4), book)
    assert again.labels is first.labels
    assert (again.value, again.observed_seconds) == (4, 99.0)
    for number in range(2000):
        samples_of(query, answer(number, 1), book)
    assert len(book.known) < 1100
    (anew,) = samples_of(query, answer(1, 5), book)
    assert (anew.labels, anew.value) == (first.labels, 5)
