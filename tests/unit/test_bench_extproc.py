"""The figures, targets and page of `headrace bench extproc`, its grid, and its load's requests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.extproc_figures import (
    BARE,
    FLOOR,
    ROUTER,
    TUNED,
    WHAT,
    WORKERS,
    Cell,
    Sample,
    Usage,
    document,
    figures,
)
from headrace.bench.extproc_grid import FULL, QUICK, saturated_requests_per_second
from headrace.bench.extproc_latencies import LatencyLog, parsed
from headrace.bench.extproc_load import NUMBER, chat_body, quantile, request_parts
from headrace.bench.extproc_page import page
from headrace.bench.extproc_reach import reach
from headrace.bench.extproc_servers import Used
from headrace.envoy_plan import EnvoyBodyMode
from headrace.main import main

CPU_SECONDS = {BARE: None, FLOOR: 2e-4, TUNED: 1.5e-4, ROUTER: 3e-4, "router-2": 4e-4}
RATES = {BARE: 1000.0, FLOOR: 500.0, TUNED: 600.0, ROUTER: 250.0, "router-2": 450.0}
TARGETS = 16
"""How many lines there are: eight of CPU, by fleet, mode and floor; two of long prompts; four of
half of saturation; workers; memory."""


def cell(replicas=8, body_bytes=512, connections=16, body_mode="buffered"):
    return Cell(
        body_mode=body_mode, replicas=replicas, body_bytes=body_bytes, connections=connections
    )


def sample(arm, p50):
    is_served = arm != BARE
    return Sample(
        requests_per_second=RATES[arm],
        failed_requests=0,
        server_cpu_seconds=CPU_SECONDS[arm],
        parent_cpu_seconds=1e-5 if arm in WORKERS else None,
        busiest_worker_ratio=1.0 if is_served else None,
        latency_p50_seconds=p50,
        latency_p99_seconds=2 * p50,
        envoy_p50_seconds=p50 / 2 if is_served else None,
        envoy_p99_seconds=p50 if is_served else None,
        messages_to_server=2.0 if is_served else None,
        messages_from_server=2.0 if is_served else None,
        load_cpu_ratio=0.1,
        late_p99_seconds=None,
    )


def one_round(router_p50=0.004, bare_p50=0.001, more=()):
    latencies = {BARE: bare_p50, FLOOR: 0.002, TUNED: 0.002, ROUTER: router_p50}
    return {arm: sample(arm, p50) for arm, p50 in latencies.items()} | {
        arm: sample(arm, 0.003) for arm in more
    }


def report(found, usage=(), cores=2):
    machine = {"cores": cores, "memory_bytes": 2**34, "processor": "x86_64", "python": "3.11"}
    inputs = {"rounds": 1, "window_seconds": 1.0, "scrape_seconds": 4.0, "waiting_bytes": 2**30}
    made = document(found, usage, inputs=inputs, machine=machine)
    return {**made, "reach": reach(made), "failures": []}


def verdicts(found):
    return {line["what"]: line["verdict"] for line in found["reach"]}


def test_figures_are_medians_and_ratios_to_the_floors():
    rounds = [one_round(), one_round(router_p50=0.006, bare_p50=0.002), one_round(router_p50=0.1)]
    bare, floor, tuned, router = figures(rounds)
    assert [it["arm"] for it in (bare, floor, tuned, router)] == [BARE, FLOOR, TUNED, ROUTER]
    assert (bare["server_cpu_seconds"], bare["server_cpu_ratio"]) == (None, None)
    assert floor["requests_ratio"] == floor["server_cpu_ratio"] == 1.0
    assert tuned["tuned_cpu_ratio"] == 1.0
    assert router["requests_ratio"] == 0.5
    assert router["server_cpu_ratio"] == pytest.approx(1.5)
    assert router["tuned_cpu_ratio"] == pytest.approx(2.0)
    assert router["latency_p50_seconds"] == 0.006
    assert router["added_p50_seconds"] == pytest.approx(0.004)  # of the same round each


def test_the_worst_cell_judges_the_cpu_targets_and_absent_ones_judge_nothing():
    cheap = {**one_round(), ROUTER: sample(FLOOR, 0.002)}
    found = report([(cell(), figures([one_round()])), (cell(connections=1), figures([cheap]))])
    told = verdicts(found)
    cpu = [what for what in told if what.startswith("CPU") and "8 replicas" in what]
    assert {what: told[what] for what in cpu if "buffered" in what} == {
        what: "missed" for what in cpu if "buffered" in what
    }
    assert all(told[what] == "not measured" for what in told if "1000 replicas" in what)
    assert len(told) == TARGETS


@pytest.mark.parametrize(("router_p50", "verdict"), [(0.0059, "met"), (0.0061, "missed")])
def test_long_prompts_are_judged_by_what_they_take_longer_than_with_envoy_alone(
    router_p50, verdict
):
    long = cell(body_bytes=220_000, connections=20)
    found = report([(long, figures([one_round(router_p50=router_p50)]))])
    assert verdicts(found)["added p50, 220 KB, 20 connections, buffered"] == verdict


@pytest.mark.parametrize(
    ("cores", "verdict"), [(2, "not judged: 2 cores for 5 busy processes"), (8, "met")]
)
def test_workers_are_judged_only_where_they_have_cores(cores, verdict):
    found = report([(cell(), figures([one_round(more=["router-2"])]))], cores=cores)
    [line] = [line for line in found["reach"] if line["what"].startswith("requests/s of 2")]
    assert (line["measured"], line["verdict"]) == ("1.80 x", verdict)


def test_memory_at_rest_is_judged_at_a_thousand_replicas():
    def usage(rest_bytes, replicas=1000, arm=ROUTER):
        return Usage(
            arm=arm,
            body_mode="buffered",
            replicas=replicas,
            rest_bytes=2 * rest_bytes,
            rest_worker_bytes=rest_bytes,
            peak_bytes=10**9,
            peak_worker_bytes=10**9,
            parent_peak_bytes=None,
            idle_cpu_cores=0.1,
        )

    what = "memory of the largest worker of all arms at rest, 1000 replicas"
    assert verdicts(report([], [usage(120_000_000)]))[what] == "met"
    assert verdicts(report([], [usage(120_000_001)]))[what] == "missed"
    either = [usage(100_000_000), usage(130_000_000, arm="router-4")]
    assert verdicts(report([], either))[what] == "missed"
    others = [usage(10**9, replicas=8), usage(10**9, arm=FLOOR)]
    assert verdicts(report([], others))[what] == "not measured"


def test_the_page_has_every_target_and_every_arm():
    found = report(
        [(cell(), figures([one_round()])), (cell(connections=None), figures([one_round()]))]
    )
    assert json.loads(json.dumps(found))["schema"] == 2
    text = page(found)
    assert text.index("| Target |") < text.index("## How it is measured")
    for line in found["reach"]:
        assert f"| {line['what']} | {line['target']} | " in text
    rows = [line for line in text.splitlines() if line.startswith("| buffered | 8 | 512 |")]
    [head] = [line for line in text.splitlines() if line.startswith("| Body | Replicas | Bytes |")]
    assert {line.count(" | ") for line in (head, *rows)} == {17}
    assert [row.split(" | ")[3:5] for row in rows] == [
        [load, arm] for load in ("16", "half") for arm in (BARE, FLOOR, TUNED, ROUTER)
    ]
    assert all(f"- *{name}*: {what}.\n" in text for name, what in WHAT.items())


@pytest.mark.parametrize("grid", [FULL, QUICK])
def test_every_cell_has_the_bare_envoy_the_floor_and_a_router(grid):
    for lane in grid.lanes():
        for one in lane.cells:
            arms = lane.arms_of(one)
            assert {BARE, FLOOR} <= set(arms)
            assert {ROUTER, *WORKERS} & set(arms)
            assert set(arms) <= set(lane.arms)
            assert len(set(arms)) == len(arms)


def test_the_full_grid_takes_at_most_thirty_five_minutes():
    seconds = sum(
        len(lane.arms_of(one)) * FULL.rounds * (FULL.seconds_of(one) + 0.25)
        for lane in FULL.lanes()
        for one in lane.cells
    )
    assert seconds + 15 * len(list(FULL.lanes())) < 35 * 60


def test_the_full_grid_has_every_size_load_and_fleet_of_the_targets():
    cells = {one for lane in FULL.lanes() for one in lane.cells}
    for mode in EnvoyBodyMode:
        for replicas in (8, 1000):
            for size in (512, 8_000, 220_000, 1_000_000):
                for connections in (1, 16, 128):
                    assert cell(replicas, size, connections, mode.value) in cells
        assert cell(8, 512, None, mode.value) in cells
        assert cell(8, 220_000, 20, mode.value) in cells


def test_half_of_saturation_is_of_the_loop_with_most_connections():
    def reached(rate):
        return [{"arm": ROUTER, "requests_per_second": rate}]

    found = [
        (cell(connections=128), reached(900.0)),
        (cell(connections=16), reached(1000.0)),
        (cell(connections=None), reached(1.0)),
        (cell(connections=256, replicas=100), reached(7.0)),
    ]
    assert saturated_requests_per_second(found, cell(connections=None)) == 900.0


def test_envoys_waits_add_up_when_buffered_and_overlap_in_full_duplex():
    log = "- - - -\n1000 500 - -\n1000 4000 200 300\n"
    assert parsed(log, EnvoyBodyMode.BUFFERED) == pytest.approx([0.0015, 0.005])
    assert parsed(log, EnvoyBodyMode.FULL_DUPLEX) == pytest.approx([0.001, 0.0043])


async def test_a_log_is_read_on_from_its_last_whole_line(tmp_path):
    path = tmp_path / "access.log"
    log = LatencyLog(path, EnvoyBodyMode.BUFFERED)
    path.write_text("1000 0 - -\n2000")
    assert await log.take(1) == [0.001]
    with path.open("a") as file:
        file.write("00 0 - -\n- - - -\n")
    assert await log.take(2) == [pytest.approx(0.2)]


def test_time_of_workers_is_added_up_and_the_parents_told_apart():
    before = Used(workers=(1.0, 5.0), parent=0.5)
    used = Used(workers=(2.0, 8.0), parent=0.75).since(before)
    assert (used.workers_seconds, used.busiest_ratio, used.parent) == (4.0, 0.75, 0.25)
    nothing = before.since(before)
    assert (nothing.workers_seconds, nothing.busiest_ratio) == (0.0, None)
    alone = Used(workers=(2.0,), parent=None)
    assert (alone.since(alone).parent, alone.busiest_ratio) == (None, 1.0)


@given(st.integers(0, 5000))
def test_a_request_is_as_long_as_asked_for_and_carries_a_number(size):
    body = chat_body(size)
    assert json.loads(body)["messages"][0]["content"].startswith(NUMBER)
    assert body.count(NUMBER.encode()) == 1
    assert len(body) == max(size, len(chat_body(0)))
    before, after = request_parts(size, header=b"x-more")
    assert before.count(b"x-more: 1\r\n") == 1
    assert (before + NUMBER.encode() + after).endswith(b"\r\n\r\n" + body)


@given(st.lists(st.floats(0, 10)), st.floats(0, 1))
def test_a_quantile_is_one_of_the_samples(samples, ratio):
    found = quantile(sorted(samples), ratio)
    assert found in samples if samples else found == 0.0


def test_a_page_in_no_folder_is_refused(tmp_path, capsys):
    assert main(["bench", "extproc", "--out", str(tmp_path / "none" / "page.md")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
