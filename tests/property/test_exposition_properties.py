import math

from full_parse import full_parse
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from telemetry.exposition import FamilyReader

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

    ours = FamilyReader([b"vllm:g", b"vllm:c_total"]).read(body)
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


# Pieces that a line may be put together from, whole lines among them, so that lines come again.
PIECES = st.sampled_from(
    [
        *("up", "up_", "up:x", "u", "upper", "9up", "#", "# HELP up x", "\n", "\n\n", "\r", "\r\n"),
        *(" ", "\t", "  ", "{", "}", "{}", '"', '\\"', "\\", "\\n", ",", "=", "a", "\x0b", "\x00"),
        *('{a="b"}', '{a="b"} ', '{a="}"}', '{a="b",}', '{a="b" }', '{a="\\\\"} ', '{a="x y"} '),
        *("1", "+5", " 1", "1e3", "NaN", "1_0", "-Inf", "x", " 1 1700000000500", "\t1\t17"),
        *("up 1\n", 'up{a="b"} 1\n', 'up{a="b"} 2\n', 'upper{a="b"} 3\n', 'up{a="b"} 1 17\n'),
        *('up{a="b"} \n', "up{} 1\n", "up{}1\n", 'up{a="b"}1\n', 'up{a="b"} {}1\n', "up {}1\n"),
    ]
)
WANTED = [b"up", b"upper", b"vllm:num_requests_running", b"vllm:num_requests_waiting", b"not-one"]


def same(one, other):
    assert one.malformed == other.malformed
    assert [comparable(*sample[:3]) for sample in one.samples] == [
        comparable(*sample[:3]) for sample in other.samples
    ]
    assert [sample[3] for sample in one.samples] == [sample[3] for sample in other.samples]


@given(st.lists(st.lists(PIECES, max_size=30), max_size=4))
def test_a_page_is_read_as_line_by_line_whatever_was_read_before(pages):
    reader = FamilyReader(WANTED)
    for pieces in pages:
        page = "".join(pieces).encode()
        same(reader.read(page), full_parse(page, WANTED))


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_any_bytes_are_read_as_line_by_line(bodies):
    reader = FamilyReader(WANTED)
    for body in bodies:
        for page in (body, b"up" + body, b"x\nupper" + body):
            same(reader.read(page), full_parse(page, WANTED))


@given(st.text('up{}a="\\, \n1', max_size=60))
def test_nearly_right_text_is_read_as_line_by_line_twice(text):
    reader, page = FamilyReader(WANTED), text.encode()
    for _ in range(2):
        same(reader.read(page), full_parse(page, WANTED))


@given(
    names=st.sets(st.text("ab_:", min_size=1, max_size=5), max_size=8),
    lines=st.lists(st.text("ab_: 1", max_size=8), max_size=30),
)
def test_exactly_the_wanted_names_are_found(names, lines):
    wanted = [name.encode() for name in names]
    page = "\n".join(lines).encode()
    same(FamilyReader(wanted).read(page), full_parse(page, wanted))


@given(
    st.lists(
        st.tuples(st.sampled_from(["0", "1"]), st.sampled_from(["m", "n"]), VALUES), max_size=12
    ),
    st.randoms(use_true_random=False),
)
def test_pages_of_one_layout_and_then_of_another_are_read_alike(values, shuffle):
    reader = FamilyReader(WANTED)
    lines = [
        f"vllm:num_requests_{('running', 'waiting')[number % 2]}"
        f'{{engine="{engine}",model_name="{model}"}} {value!r}'
        for number, (engine, model, value) in enumerate(values)
    ]
    for _ in range(3):
        page = "\n".join(lines).encode()
        same(reader.read(page), full_parse(page, WANTED))
        shuffle.shuffle(lines)
        lines = lines[: len(lines) // 2 + 1]
