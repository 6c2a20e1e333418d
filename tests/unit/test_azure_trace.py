import os
from pathlib import Path

import pytest

from loadtest.arrivals import Arrival
from loadtest.azure_trace import AzureTraceError, load_azure_trace, stream_azure_trace

DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[3] / "shared" / "data")
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


@pytest.fixture
def trace(tmp_path):
    def write(*lines, encoding="utf-8"):
        path = tmp_path / "trace.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        return path

    return write


@pytest.mark.parametrize(("name", "rows"), [("code", 8_819), ("conv", 19_366)])
def test_the_public_2023_traces_are_read_whole(name, rows):
    path = DATA / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{name}.csv"
    if not path.is_file():
        pytest.skip(f"the published trace is NOT read: no {path} (set HEADRACE_DATA)")
    arrivals = load_azure_trace(path, model="m")
    assert len(arrivals) == rows
    assert arrivals[0].at_seconds == 0.0


def test_the_seven_digits_of_2023_are_kept(trace):
    path = trace(HEADER, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951691,396,9")
    assert load_azure_trace(path, model="m") == [
        Arrival(0.0, 374, 44, "m"),
        Arrival(4.3145791, 396, 9, "m"),
    ]


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
    assert [a.at_seconds for a in load_azure_trace(path, model="m")] == [0.0, 1.5]


def test_equal_times_are_simultaneous_arrivals(trace):
    path = trace(HEADER, "2024-05-10 00:00:00,1,2", "2024-05-10 00:00:00,0,0")
    assert [a.at_seconds for a in load_azure_trace(path, model="m")] == [0.0, 0.0]


def test_columns_may_come_in_another_order_after_a_byte_order_mark_and_with_crlf(trace):
    path = trace(
        "GeneratedTokens,TIMESTAMP,ContextTokens\r",
        "7,2024-05-10 00:00:00,5\r",
        encoding="utf-8-sig",
    )
    assert load_azure_trace(path, model="m") == [Arrival(0.0, 5, 7, "m")]


def test_rows_beyond_the_limit_are_not_looked_at(trace):
    path = trace(HEADER, "2024-05-10 00:00:00,1,2", "nonsense")
    assert len(load_azure_trace(path, model="m", limit=1)) == 1


GOOD = "2024-05-10 00:00:05,1,2"


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        pytest.param([], None, "the first line is empty", id="empty file"),
        pytest.param(["", HEADER], None, "the first line is empty", id="blank first line"),
        pytest.param([HEADER], None, "no rows", id="header only"),
        pytest.param([GOOD], 1, "the columns are 2024", id="no header"),
        pytest.param(["TIMESTAMP,ContextTokens"], 1, "they must be", id="missing column"),
        pytest.param([HEADER + ",User"], 1, "User; they must be", id="unknown column"),
        pytest.param([HEADER, GOOD, "a,b"], 3, "2 fields, there must be 3", id="short row"),
        pytest.param([HEADER, "soon,1,2"], 2, "'soon' is not a time", id="no time"),
        pytest.param([HEADER, "2024-13-10 00:00:05,1,2"], 2, "is not a time", id="month 13"),
        pytest.param([HEADER, "1715299205.5,1,2"], 2, "is not a time", id="epoch seconds"),
        pytest.param([HEADER, "2024-05-10 00:00:05+99:00,1,2"], 2, "is not a time", id="zone"),
        pytest.param(
            [HEADER, GOOD, "", "2024-05-10 00:00:04,1,2"], 4, "earlier than the row", id="unsorted"
        ),
        pytest.param([HEADER, "2024-05-10 00:00:05,-1,2"], 2, "ContextTokens is '-1'", id="minus"),
        pytest.param(
            [HEADER, "2024-05-10 00:00:05,1,2.5"], 2, "GeneratedTokens is '2.5'", id="half"
        ),
        pytest.param([HEADER, "2024-05-10 00:00:05,,2"], 2, "ContextTokens is ''", id="nothing"),
        pytest.param([HEADER, f"2024-05-10 00:00:05,{'9' * 5000},2"], 2, "whole number", id="huge"),
        pytest.param([HEADER, "x" * 200_000], 2, "is not a CSV row", id="huge field"),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(trace, lines, line, message):
    path = trace(*lines)
    with pytest.raises(AzureTraceError, match=message) as caught:
        load_azure_trace(path, model="m")
    assert (caught.value.path, caught.value.line) == (path, line)
    assert str(caught.value).startswith(f"{path}:" if line is None else f"{path}:{line}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AzureTraceError, match=r"none\.csv: cannot be read: No such file"):
        load_azure_trace(tmp_path / "none.csv", model="m")


def test_a_folder_is_no_trace(tmp_path):
    with pytest.raises(AzureTraceError, match="cannot be read: Is a directory"):
        load_azure_trace(tmp_path, model="m")


def test_a_binary_file_is_no_trace(trace):
    with pytest.raises(AzureTraceError, match="is not UTF-8 text"):
        load_azure_trace(trace("\xff\xfe\xfa", encoding="latin-1"), model="m")


def test_a_long_trace_is_not_held_in_memory(trace):
    rows = stream_azure_trace(trace(HEADER, GOOD, "broken"), model="m")
    assert next(rows) == Arrival(0.0, 1, 2, "m")
    with pytest.raises(AzureTraceError, match=":3: 1 fields"):
        next(rows)
