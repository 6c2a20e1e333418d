import pytest

from telemetry.exposition import FamilyReader

WANTED = (b"vllm:running", b"up")


def parse(body):
    return FamilyReader(WANTED).read(body)


def samples(text):
    return [(s.name, s.labels, s.value) for s in parse(text.encode()).samples]


def test_only_wanted_families_are_read():
    text = 'vllm:running{engine="0"} 3\nvllm:running_seconds_bucket{le="1"} 9\nother 1\n'
    assert samples(text) == [("vllm:running", {"engine": "0"}, 3.0)]


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("up 1", {}),
        ("up{} 1", {}),
        ('up{a="b"} 1', {"a": "b"}),
        ('up{a="b",} 1', {"a": "b"}),
        ('up{a="b", c = "d" , } 1', {"a": "b", "c": "d"}),
        ('up {a="}"} 1', {"a": "}"}),
        (r'up{a="x\"y\\z\n"} 1', {"a": 'x"y\\z\n'}),
        ('up{a="carriage\rreturn"} 1', {"a": "carriage\rreturn"}),
        ('up{a="ü✓"} 1', {"a": "ü✓"}),
        ('up\t{a="b"}\t1\r', {"a": "b"}),
    ],
)
def test_labels_are_read_in_every_legal_shape(line, labels):
    assert samples(line) == [("up", labels, 1.0)]


def test_values_may_be_anything_a_float_can_be():
    values = [value for _, _, value in samples("up NaN\nup +Inf\nup -Inf\nup 1e3\nup -4\n")]
    assert values[0] != values[0]
    assert values[1:] == [float("inf"), float("-inf"), 1000.0, -4.0]


def test_a_timestamp_is_seconds_since_the_epoch():
    (sample,) = parse(b"up 1 1700000000500\n").samples
    assert sample.timestamp_epoch_seconds == 1_700_000_000.5


@pytest.mark.parametrize(
    "line",
    ["up", "up ", "up{ 1", 'up{a="b" 1', "up{a=b} 1", 'up{a="b"} x', "up 1 2 3", 'up{a="b"}1 y'],
)
def test_a_broken_line_is_named_and_costs_no_other(line):
    exposition = parse(f"{line}\nup 2\n".encode())
    assert [sample.value for sample in exposition.samples] == [2.0]
    assert exposition.malformed == ["up"]


def test_bytes_that_are_not_text_do_not_crash():
    exposition = parse(b'\xff\xfe\x00up\nup{a="\xff"} 1\n')
    assert [sample.value for sample in exposition.samples] == [1.0]


def test_what_a_line_begins_with_is_read_once_and_shared_by_all_pages():
    reader = FamilyReader(WANTED)
    (first,) = reader.read(b'up{a="b"} 1\n').samples
    (again,) = reader.read(b'other 3\nup{a="b"} 2.5\n').samples
    assert again.labels is first.labels
    assert again.value == 2.5


def test_only_lines_that_are_read_count_as_wanted_bytes():
    page = b"# HELP up x\nup 1\nupper 2\nvllm:running 30\n"
    assert FamilyReader(WANTED).wanted_bytes(page) == len(b"up 1\nvllm:running 30\n")
