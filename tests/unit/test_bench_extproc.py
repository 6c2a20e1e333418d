"""The figures and the page of `headrace bench extproc`, and its load's requests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.extproc_figures import (
    ARMS,
    BARE,
    FLOOR,
    ROUTER,
    Cell,
    Sample,
    document,
    figures,
)
from headrace.bench.extproc_load import NUMBER, chat_body, quantile
from headrace.bench.extproc_page import page
from headrace.main import main

CELL = Cell(body_mode="buffered", replicas=8, body_bytes=512, concurrency=16)
CPU_SECONDS = {BARE: None, FLOOR: 2e-4, ROUTER: 3e-4}


def sample(arm, *, slower=1.0, p50=0.001):
    return Sample(
        requests_per_second=1000.0 / slower,
        failed_requests=0,
        server_cpu_seconds=CPU_SECONDS[arm],
        latency_p50_seconds=p50,
        latency_p99_seconds=2 * p50,
        load_cpu_ratio=0.1,
    )


def one_round(router_p50=0.004, bare_p50=0.001):
    return {
        BARE: sample(BARE, p50=bare_p50),
        FLOOR: sample(FLOOR, slower=2.0, p50=0.002),
        ROUTER: sample(ROUTER, slower=4.0, p50=router_p50),
    }


def test_figures_are_medians_and_ratios_to_the_floor():
    rounds = [one_round(), one_round(router_p50=0.006, bare_p50=0.002), one_round(router_p50=0.1)]
    bare, floor, router = figures(rounds)
    assert (bare.arm, floor.arm, router.arm) == ARMS
    assert (bare.server_cpu_seconds, bare.server_cpu_ratio) == (None, None)
    assert floor.requests_ratio == floor.server_cpu_ratio == 1.0
    assert router.requests_ratio == 0.5
    assert router.server_cpu_ratio == pytest.approx(1.5)
    assert router.latency_p50_seconds == 0.006
    assert router.added_p50_seconds == pytest.approx(0.004)  # of the same round each


def test_the_page_has_a_row_of_every_arm_in_every_cell():
    report = document(
        [(CELL, figures([one_round()]))],
        [],
        rounds=1,
        window_seconds=1.0,
        machine={"cores": 2, "processor": "x86_64", "python": "3.11", "system": "Linux"},
    )
    assert json.loads(json.dumps(report))["schema"] == 1
    rows = [line for line in page(report).splitlines() if line.startswith("| buffered | 8 | 512")]
    assert [row.split(" | ")[4] for row in rows] == list(ARMS)


@given(st.integers(0, 5000))
def test_a_request_is_as_long_as_asked_for_and_carries_a_number(size):
    body = chat_body(size)
    assert json.loads(body)["messages"][0]["content"].startswith(NUMBER)
    assert body.count(NUMBER.encode()) == 1
    assert len(body) == max(size, len(chat_body(0)))


@given(st.lists(st.floats(0, 10)), st.floats(0, 1))
def test_a_quantile_is_one_of_the_samples(samples, ratio):
    found = quantile(sorted(samples), ratio)
    assert found in samples if samples else found == 0.0


def test_a_page_in_no_folder_is_refused(tmp_path, capsys):
    assert main(["bench", "extproc", "--out", str(tmp_path / "none" / "page.md")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
