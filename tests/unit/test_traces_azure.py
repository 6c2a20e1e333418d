import os
from pathlib import Path

import pytest

from loadtest.arrivals import Arrival
from loadtest.traces.errors import TraceError
from loadtest.traces.modifiers import limit
from loadtest.traces.opening import TraceFormat, open_trace

DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[3] / "shared" / "data")
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
GOOD = "2024-05-10 00:00:05,1,2"


@pytest.fixture
def trace(tmp_path):
    def write(*lines, encoding="utf-8"):
        path = tmp_path / "trace.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        return path

    return write


def read(path):
    return list(open_trace(path, model="m", trace_format=TraceFormat.AZURE))


@pytest.mark.parametrize(("name", "rows"), [("code", 8_819), ("conv", 19_366)])
def test_the_public_2023_traces_are_read_whole(name, rows):
    path = DATA / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{name}.csv"
    if not path.is_file():
        pytest.skip(f"the published trace is NOT read: no {path} (set HEADRACE_DATA)")
    arrivals = list(open_trace(path, model="m"))
    assert len(arrivals) == rows
    assert arrivals[0].at_seconds == 0.0


def test_the_seven_digits_of_2023_are_kept(trace):
    path = trace(HEADER, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951691,396,9")
    assert read(path) == [Arrival(0.0, 374, 44, "m"), Arrival(4.3145791, 396, 9, "m")]


@pytest.mark.parametrize(
    "second",
    [
        "2024-05-10 00:00:01.500000+00:00",
        "2024-05-10T00:00:01.5Z",
        "2024-05-10 02:00:01.5+02:00",
        "2024-05-10 00:00:01.5",
    ],
)
def test_times_with_and_without_a_zone_agree(trace, second):
    path = trace(HEADER, "2024-05-10 00:00:00+00:00,1,2", f"{second},3,4", "")
    assert [a.at_seconds for a in read(path)] == [0.0, 1.5]


def test_equal_times_are_simultaneous_arrivals(trace):
    path = trace(HEADER, "2024-05-10 00:00:00,1,2", "2024-05-10 00:00:00,0,0")
    assert [a.at_seconds for a in read(path)] == [0.0, 0.0]


def test_columns_may_come_in_another_order_after_a_byte_order_mark_and_with_crlf(trace):
    path = trace(
        "GeneratedTokens,TIMESTAMP,ContextTokens\r",
        "7,2024-05-10 00:00:00,5\r",
        encoding="utf-8-sig",
    )
    assert list(open_trace(path, model="m")) == [Arrival(0.0, 5, 7, "m")]


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        pytest.param([], None, "the first line is empty", id="empty file"),
        pytest.param(["", HEADER], None, "the first line is empty", id="blank first line"),
        pytest.param([HEADER], None, "no requests", id="header only"),
        pytest.param([GOOD], 1, "the columns are '2024", id="no header"),
        pytest.param(["TIMESTAMP,ContextTokens"], 1, "they must be", id="missing column"),
        pytest.param([HEADER + ",User"], 1, "User'; they must be", id="unknown column"),
        pytest.param([HEADER + ",TIMESTAMP"], 1, "each once", id="column twice"),
        pytest.param([HEADER, GOOD, "a,b"], 3, "2 fields, there must be 3", id="short row"),
        pytest.param([HEADER, "soon,1,2"], 2, "'soon' is not a time", id="no time"),
        pytest.param([HEADER, "2024-13-10 00:00:05,1,2"], 2, "is not a time", id="month 13"),
        pytest.param([HEADER, "1715299205.5,1,2"], 2, "is not a time", id="epoch seconds"),
        pytest.param([HEADER, "2024-05-10 00:00:05+99:00,1,2"], 2, "is not a time", id="zone"),
        pytest.param(
            [HEADER, GOOD, "", "2024-05-10 00:00:04,1,2"], 4, "earlier than in the row", id="order"
        ),
        pytest.param([HEADER, "2024-05-10 00:00:05,-1,2"], 2, "ContextTokens is '-1'", id="minus"),
        pytest.param(
            [HEADER, "2024-05-10 00:00:05,1,2.5"], 2, "GeneratedTokens is '2.5'", id="half"
        ),
        pytest.param([HEADER, "2024-05-10 00:00:05,,2"], 2, "ContextTokens is ''", id="nothing"),
        pytest.param([HEADER, f"2024-05-10 00:00:05,{'9' * 5000},2"], 2, "whole number", id="huge"),
        pytest.param([HEADER, "x" * 200_000], 2, "is not a CSV row", id="huge field"),
        pytest.param([HEADER, "x" * 1_100_000], 2, "1048576 characters or more", id="huge line"),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(trace, lines, line, message):
    path = trace(*lines)
    with pytest.raises(TraceError, match=message) as caught:
        read(path)
    assert (caught.value.path, caught.value.line) == (path, line)
    assert str(caught.value).startswith(f"{path}:" if line is None else f"{path}:{line}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"none\.csv: cannot be read: No such file"):
        open_trace(tmp_path / "none.csv", model="m")


def test_a_folder_is_no_trace(tmp_path):
    with pytest.raises(TraceError, match="cannot be read: Is a directory"):
        open_trace(tmp_path, model="m")


def test_a_binary_file_is_no_trace(trace):
    with pytest.raises(TraceError, match="is not UTF-8 text"):
        open_trace(trace("\xff\xfe\xfa", encoding="latin-1"), model="m")


def test_rows_are_read_when_they_are_pulled(trace):
    opened = open_trace(trace(HEADER, GOOD, "broken"), model="m")
    assert list(limit(opened, count=1)) == [Arrival(0.0, 1, 2, "m")]
    arrivals = iter(opened)
    assert next(arrivals) == Arrival(0.0, 1, 2, "m")
    with pytest.raises(TraceError, match=":3: 1 fields"):
        next(arrivals)
