import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from telemetry.exposition import parse

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
VALUES = st.floats(allow_nan=True, allow_infinity=True)


def comparable(name, labels, value):
    return name, tuple(sorted(labels.items())), "nan" if math.isnan(value) else value


@given(
    gauges=st.dictionaries(st.tuples(TEXTS, TEXTS), VALUES, max_size=5),
    counts=st.dictionaries(TEXTS, st.floats(0, 1e18), max_size=5),
)
def test_everything_prometheus_client_renders_is_read_as_its_own_parser_reads_it(gauges, counts):
    registry = CollectorRegistry()
    gauge = Gauge("vllm:g", "help \\ text\nof lines", ["a", "b"], registry=registry)
    counter = Counter("vllm:c", "help", ["a"], registry=registry)
    for labels, value in gauges.items():
        gauge.labels(*labels).set(value)
    for label, value in counts.items():
        counter.labels(label).inc(value)
    body = generate_latest(registry)

    ours = parse(body, {b"vllm:g", b"vllm:c_total"})
    theirs = [
        sample
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name in ("vllm:g", "vllm:c_total")
    ]
    assert ours.malformed == []
    assert sorted(map(str, (comparable(s.name, s.labels, s.value) for s in ours.samples))) == (
        sorted(map(str, (comparable(s.name, s.labels, s.value) for s in theirs)))
    )


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(body):
    parse(b"up" + body, {b"up"})


@given(st.text('up{}a="\\, \n1', max_size=60))
def test_no_nearly_right_text_crashes_the_parser(text):
    parse(text.encode(), {b"up"})
