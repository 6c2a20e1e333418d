import gzip
import tracemalloc

import pytest

from loadtest.arrivals import Arrival
from loadtest.traces.columns import Columns, TimeUnit
from loadtest.traces.errors import TraceError
from loadtest.traces.opening import TraceFormat, open_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
MOONCAKE = (
    '{"timestamp": 27482, "input_length": 1200, "output_length": 500, "hash_ids": [46, 47, 48]}'
)
OWN = Columns(time="when", prompt_tokens="in", output_tokens="out", model="llm", tenant="team")


@pytest.fixture
def trace(tmp_path):
    def write(*lines, name="trace"):
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write


def read(path, **options):
    return list(open_trace(path, model="m", **options))


def test_burstgpt_names_models_and_kinds_of_client_and_leaves_failures_out(trace):
    path = trace(
        BURSTGPT,
        "5,ChatGPT,472,18,490,Conversation log",
        "45,GPT-4,1087,0,1087,API log",
        "45,GPT-4,1087,0,1087,API log",
        "46,GPT-4,417,276,693,API log",
    )
    first = Arrival(0.0, 472, 18, "ChatGPT", tenant="Conversation log")
    last = Arrival(41.0, 417, 276, "GPT-4", tenant="API log")
    failed = Arrival(40.0, 1087, 0, "GPT-4", tenant="API log")
    assert read(path) == [first, last]
    assert read(path, failures=True) == [first, failed, failed, last]


def test_the_second_release_of_burstgpt_has_two_more_columns(trace):
    path = trace(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type",
        "5.25,7,1.5,ChatGPT,472,18,490,",
        "6,,,ChatGPT,4,8,12,API log",
    )
    assert [(a.at_seconds, a.tenant) for a in read(path)] == [(0.0, None), (0.75, "API log")]


def test_mooncake_tells_what_prompts_share(trace):
    path = trace(MOONCAKE, "", MOONCAKE.replace("27482", "30535"))
    arrival = Arrival(0.0, 1200, 500, "m", prefix_blocks=(46, 47, 48), prefix_block_tokens=512)
    assert read(path) == [arrival, arrival._replace(at_seconds=3.053)]


def test_a_csv_of_ones_own_is_read_by_the_names_of_its_columns(trace):
    path = trace(
        "team,when,in,out,llm,note",
        "red,1715299205.5,10,20,big,x",
        ",1715299205.75,10,20,,y",
        "red,2024-05-10T00:00:06.5Z,1,2,big,z",
    )
    assert read(path, columns=OWN) == [
        Arrival(0.0, 10, 20, "big", tenant="red"),
        Arrival(0.25, 10, 20, "m"),
        Arrival(1.0, 1, 2, "big", tenant="red"),
    ]


@pytest.mark.parametrize(
    ("unit", "second"),
    [
        (TimeUnit.SECONDS, "1.5"),
        (TimeUnit.MILLISECONDS, "1500"),
        (TimeUnit.MICROSECONDS, "1.5e6"),
        (TimeUnit.NANOSECONDS, "1500000000"),
    ],
)
def test_numbers_count_in_the_unit_that_the_user_names(trace, unit, second):
    columns = Columns(time="t", prompt_tokens="p", output_tokens="o", time_unit=unit)
    path = trace("t,p,o", "0,1,2", f"{second},1,2")
    assert [a.at_seconds for a in read(path, columns=columns)] == [0.0, 1.5]


@pytest.mark.parametrize(
    ("lines", "options", "trace_format"),
    [
        ([AZURE, "2024-05-10 00:00:05,1,2"], {}, "azure"),
        ([BURSTGPT, "5,ChatGPT,1,2,3,API log"], {}, "burstgpt"),
        ([MOONCAKE], {}, "mooncake"),
        (["when,in,out,llm,team", "1,2,3,x,y"], {"columns": OWN}, "csv"),
    ],
)
def test_the_format_is_recognised_and_told_also_through_gzip(
    trace, tmp_path, lines, options, trace_format
):
    path = trace(*lines)
    packed = tmp_path / "trace.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    opened = open_trace(path, model="m", **options)
    assert opened.trace_format == TraceFormat(trace_format)
    assert str(path) in opened.description
    assert list(opened) == list(opened) == read(packed, **options) != []


@pytest.mark.parametrize(
    ("lines", "options", "line", "message"),
    [
        pytest.param(["a,b", "1,2"], {}, 1, "'a, b', which is no known format", id="unknown"),
        pytest.param(["[1, 2]"], {}, 1, "no known format", id="JSON of another kind"),
        pytest.param([], {}, None, "the first line is empty", id="empty"),
        pytest.param(
            ["a,b"], {"trace_format": TraceFormat.CSV}, None, "names of its columns", id="unnamed"
        ),
        pytest.param(["when,in,out,llm", "1,2,3,4"], {"columns": OWN}, 1, "team", id="absent"),
        pytest.param(
            ["when,in,out,llm,team", "soon,2,3,4,5"], {"columns": OWN}, 2, "when is 'soon'", id="t"
        ),
        pytest.param(
            ["when,in,out,llm,team", "1e999999,2,3,4,5"], {"columns": OWN}, 2, "a number", id="far"
        ),
        pytest.param([BURSTGPT], {}, None, "no requests", id="header only"),
        pytest.param([BURSTGPT, "1,A,1,0,1,B"], {}, None, "no requests", id="failures only"),
        pytest.param([BURSTGPT, "nan,A,1,2,3,B"], {}, 2, "Timestamp is 'nan'", id="nan"),
        pytest.param([BURSTGPT, "1,A,-1,2,1,B"], {}, 2, "Request tokens is '-1'", id="negative"),
        pytest.param(
            [BURSTGPT, "2,A,1,2,3,B", "1,A,1,2,3,B"], {}, 3, "sort the file", id="unsorted"
        ),
        pytest.param([BURSTGPT + ",X", "1,A,1,2,3,B,4"], {}, 1, "may be Elapsed", id="column"),
        pytest.param([MOONCAKE, "{'a': 1}"], {}, 2, "JSON is malformed", id="bad JSON"),
        pytest.param([MOONCAKE, "[]"], {}, 2, "not a Mooncake request", id="JSON list"),
        pytest.param(['{"timestamp": 1}'], {}, 1, "input_length", id="missing key"),
        pytest.param(
            [MOONCAKE.replace("1200", "-1")], {}, 1, r"Expected `int` >= 0.*input_length", id="neg"
        ),
        pytest.param([MOONCAKE.replace("27482", "1e99")], {}, 1, "timestamp", id="absurd time"),
        pytest.param(
            [MOONCAKE.replace("1200", "1024")], {}, 1, "3 hash_ids are more than 1024", id="blocks"
        ),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(trace, lines, options, line, message):
    path = trace(*lines)
    with pytest.raises(TraceError, match=message) as caught:
        read(path, **options)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_wrong_gzip_is_told(tmp_path):
    whole = gzip.compress(b"\n".join([MOONCAKE.encode()] * 5000))
    for name, content, message in [
        ("plain.gz", MOONCAKE.encode(), "not gzip-compressed"),
        ("cut.gz", whole[:-20], "cut off"),
        ("damaged.gz", whole[:100] + b"\0" * 50 + whole[150:], "damaged"),
        ("trailing.gz", whole + b"rubbish", "damaged"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(TraceError, match=message):
            read(path)


FINE = "2024-05-10 00:00:05.123456,1,2"


def test_a_row_repeated_at_a_fine_time_is_refused_unless_allowed(trace):
    path = trace(AZURE, FINE, FINE.replace(",2", ",3"), FINE)
    with pytest.raises(TraceError, match=r":4: repeats line 2 "):
        read(path)
    assert len(read(path, repeats_allowed=True)) == 3


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([FINE, FINE.replace(",2", ",3")], id="same time, another row"),
        pytest.param([FINE, FINE.replace("456", "457")], id="same row, another time"),
        pytest.param([FINE.replace("456", "000")] * 2, id="a clock of milliseconds"),
    ],
)
def test_simultaneous_requests_are_no_repeats(trace, rows):
    assert len(read(trace(AZURE, *rows))) == 2


def test_a_block_has_at_least_one_token(trace):
    with pytest.raises(ValueError, match="block_tokens is 0"):
        open_trace(trace(MOONCAKE), model="m", block_tokens=0)


def test_a_trace_is_never_held_whole(trace):
    rows = 20_000
    path = trace(AZURE, *(f"2024-05-10 00:01:00.{i:09},{i % 99},2" for i in range(rows)))
    tracemalloc.start()
    count = sum(1 for _ in open_trace(path, model="m"))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == rows
    assert peak_bytes < path.stat().st_size / 2
