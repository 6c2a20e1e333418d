import pytest

from fleet.signals import COUNTERS, SignalKind
from telemetry.queries import Query, default_queries


def query_of(kind):
    (query,) = [query for query in default_queries().queries if query.kind is kind]
    return query


def row(value, part, **labels):
    return {"headrace_part": part, **labels}, value


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
    samples = list(query.samples(rows, evaluated_seconds=100.0))
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
        ({"instance": "stray"}, 9.0),
        row(1, "value-77", instance="a:1"),
    ]
    samples = list(query.samples(rows, evaluated_seconds=100.0))
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
        assert f"time() - timestamp({family.selector})" in text
