"""Figures, verdicts and the page of `headrace bench soak`, and how its load reads answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.http_messages import MessageReader
from headrace.bench.soak_figures import (
    Ending,
    Held,
    Reading,
    document,
    slope,
    warm_up_seconds,
)
from headrace.bench.soak_page import page
from headrace.main import main

INPUTS = {
    "duration_seconds": 3600.0,
    "replicas": 1000,
    "workers": 1,
    "requests_per_second": 60.0,
    "scrape_seconds": 4.0,
    "held_streams": 2000,
}
MEBIBYTE = 2**20


def readings(*, growth_bytes_per_second=0.0, first_bytes=80e6, warm_bytes=20e6):
    return [
        Reading(
            after_seconds=after,
            resident_bytes=int(
                first_bytes + min(after / 600, 1) * warm_bytes + after * growth_bytes_per_second
            ),
            cpu_seconds=after * 0.25,
            streams_open=240,
            requests=int(after * 60),
            affinity_blocks=int(after),
        )
        for after in range(10, 3601, 10)
    ]


def ending(**changes):
    return Ending(
        **{
            "resident_bytes": 100_000_000,
            "largest_worker_bytes": 100_000_000,
            "peak_bytes": 110_000_000,
            "streams_open": 0,
            "requests_in_flight": 0,
            "went_around": 0,
            "failed_requests": 0,
            "hung_up_requests": 100,
            "answered_requests": 215_900,
            "affinity_blocks": 0,
            **changes,
        }
    )


def held(bytes_per_stream=20_000):
    return [
        Held(
            body_mode="buffered",
            streams=2000,
            before_bytes=10**8,
            after_bytes=10**8 + 2000 * bytes_per_stream,
        )
    ]


def report(them=None, end=None, streams=None):
    them = readings() if them is None else them
    return document(them, end or ending(), streams or held(), inputs=INPUTS, rest_bytes=8 * 10**7)


def missed(found):
    return [check["what"] for check in found["checks"] if not check["is_met"]]


def test_what_grows_only_while_it_warms_up_passes():
    found = report()
    assert missed(found) == []
    assert found["figures"]["growth_bytes"] == pytest.approx(0, abs=1)
    assert found["figures"]["cpu_cores"] == pytest.approx(0.25)
    assert found["figures"]["requests_per_second"] == pytest.approx(60)
    assert found["figures"]["affinity_blocks_growth"] == 3000
    assert found["held"][0]["bytes_per_stream"] == 20_000
    assert found["inputs"]["warm_up_seconds"] == 600


def test_a_slow_leak_is_found_and_told_per_hour_and_per_million_requests():
    found = report(readings(growth_bytes_per_second=6 * MEBIBYTE / 3600))
    assert missed(found) == ["growth of memory over the judged part"]
    figures = found["figures"]
    assert figures["growth_bytes_per_hour"] == pytest.approx(6 * MEBIBYTE, rel=1e-3)
    assert figures["growth_bytes_per_million_requests"] == pytest.approx(
        6 * MEBIBYTE / 216_000 * 1e6, rel=1e-3
    )


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        (
            {"largest_worker_bytes": 120_000_001},
            "memory of a worker after the load, no stream open",
        ),
        ({"streams_open": 1}, "streams open after the load"),
        ({"requests_in_flight": 1}, "requests in the ledger after the load"),
        ({"went_around": 1}, "requests that passed by the router"),
        ({"failed_requests": 1}, "failed requests"),
    ],
)
def test_each_thing_left_behind_fails_its_check(changes, check):
    assert missed(report(end=ending(**changes))) == [check]


def test_dear_streams_fail():
    found = report(streams=held(bytes_per_stream=30_001))
    assert missed(found) == ["memory of an open idle stream, buffered"]


def test_the_page_tells_every_check_and_verdict():
    found = report(end=ending(failed_requests=3))
    text = page(found)
    for check in found["checks"]:
        assert f"| {check['what']} | " in text
    assert "| failed requests | 3 | 0 | missed |" in text
    assert json.loads(json.dumps(found))["schema"] == 1


@given(
    st.floats(-1e3, 1e3),
    st.floats(-1e6, 1e6),
    st.lists(st.integers(0, 10_000), min_size=2, unique=True),
)
def test_the_slope_of_points_on_a_line_is_the_lines(steepness, offset, instants):
    points = [(x, offset + steepness * x) for x in instants]
    assert slope(points) == pytest.approx(steepness, abs=1e-4)


@given(st.floats(1, 1e5))
def test_the_warm_up_never_takes_more_than_a_third(duration_seconds):
    assert warm_up_seconds(duration_seconds) <= min(600, duration_seconds / 3)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"


@pytest.mark.parametrize(("answer", "is_ok"), [(CHUNKED, True), (SIZED, True), (REFUSED, False)])
@given(data=st.data())
def test_an_answer_is_whole_at_its_last_byte_however_it_is_cut(answer, is_ok, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=8)))
    reader = MessageReader()
    pieces = [
        answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)
    ]
    assert [reader.feed(piece) for piece in pieces] == [False] * len(cuts) + [True]
    assert reader.is_ok is is_ok


@pytest.mark.parametrize("option", ["--duration-seconds", "--replicas", "--workers", "--rate"])
def test_a_soak_of_nothing_is_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "soak", option, "0"])
    assert ended.value.code == 2
    assert option in capsys.readouterr().err


def test_a_soak_too_short_to_judge_is_refused(capsys):
    assert main(["bench", "soak", "--duration-seconds", "5"]) == 2
    assert "less than three readings" in capsys.readouterr().err
