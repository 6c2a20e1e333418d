"""A week of our recording rules' series in a real Prometheus, planned by the command."""

import asyncio
import json
import shutil
import subprocess

import pytest
from promtool import energy, expect, node, pod
from telemetry_harness import PrometheusServer

from capper.decide.smoothing_traces import HistoryError, TraceRules
from capper.decide.smoothing_weeks import WeekBuilder
from capper.smoothing.history import DEFAULT_QUERY, read_history
from headrace.main import main
from telemetry.promql import PrometheusQuerier, PrometheusSettings, QueryError
from telemetry.reading import FailureReason
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.prometheus
STEP = 900
DAY = 86_400
PODS = {"chat-0": ("chat", "r1"), "chat-1": ("chat", "r1"), "code-0": ("code", "r2")}
PODS |= {"code-1": ("code", "r2")}


def watts(workload, at):
    by_day = 6 <= at % DAY / 3600 < 18
    return 700 if by_day == (workload == "chat") else 100


def samples(now):
    """OpenMetrics text of what the rules would have recorded over eight days."""
    times = range((now - 8 * DAY) // STEP * STEP, now, 300)
    for name_of_pod, (workload, rack) in PODS.items():
        labels = f'namespace="llm",pod="{name_of_pod}"'
        for name, more, value in (
            ("capper:pod_watts", "", lambda at, name=workload: watts(name, at) + at % 7),
            ("capper:pod_workload", f',kind="Deployment",workload="{workload}"', lambda _: 1),
            ("capper:pod_rack", f',rack="{rack}"', lambda _: 1),
        ):
            for at in times:
                yield name, f"{name}{{{labels}{more}}} {value(at)} {at}"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    if shutil.which("promtool") is None:
        pytest.skip("NO promtool ON PATH: smoothing over Prometheus is NOT TESTED")
    folder = tmp_path_factory.mktemp("prometheus")
    lines = sorted(samples(int(SystemClock().epoch_seconds())), key=lambda pair: pair[0])
    text = "\n".join([line for _, line in lines] + ["# EOF", ""])
    (folder / "samples.txt").write_text(text)
    arguments = ["--max-block-duration=720h", folder / "samples.txt", folder / "data"]
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)
    server = PrometheusServer(folder, {}, keeps="60d")
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


def test_the_default_query_gives_each_pod_of_our_rules_once(tmp_path):
    """Also of a node without a rack, whose pods then have no leaf."""
    board = {"exported_namespace": "llm", "pod": "dcgm-x", "namespace": "gpu-operator"}
    told = (
        node("a", gpus=1, rack="r1")
        | node("b", gpus=1)
        | energy("G0", 300, exported_pod="chat-0", **board)
        | energy("G1", 500, node="b", exported_pod="chat-1", **board)
        | pod("chat-0")
        | pod("chat-1", node="b")
    )
    shared = 'kind="Deployment", namespace="llm", service="Deployment/llm/chat", workload="chat"'
    racked = '{instance="llm/chat-0", leaf="r1", pod="chat-0", rack="r1", '
    bare = '{instance="llm/chat-1", pod="chat-1", '
    want = {racked + shared + "}": 300, bare + shared + "}": 500}
    expect(tmp_path, told, {DEFAULT_QUERY: want})


def test_the_command_plans_a_week_of_prometheus(prometheus, tmp_path, capsys):
    arguments = ["--step-seconds", str(STEP), "--out", str(tmp_path)]
    assert main(["smooth", "--history", prometheus.url, *arguments]) == 0
    told = capsys.readouterr().out
    assert "4 instances over 2 leaves" in told
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["inputs"]["history"] == prometheus.url
    assert len(report["inputs"]["history_sha256"]) == 64
    assert report["history"]["weeks"] == 1.0
    assert report["history"]["coverage_ratio_by_service"] == {
        "Deployment/llm/chat": 1.0,
        "Deployment/llm/code": 1.0,
    }
    # 1400 W in each rack; a chat and a code in each: 700 + 100.
    assert report["lower_leaf_peaks_ratio"] == pytest.approx(1 - 800 / 1400, abs=0.01)
    assert (tmp_path / "peaks.png").stat().st_size > 10_000
    best = report["hints"]["Deployment/llm/chat"][0]
    assert best["leaf"] == "r2"


def test_a_history_that_begins_later_is_refused_with_its_coverage(prometheus, capsys):
    arguments = ["--days", "14", "--step-seconds", str(STEP)]
    assert main(["smooth", "--history", prometheus.url, *arguments]) == 2
    told = capsys.readouterr().err
    assert "the history is partial: there are readings for 57% of the time" in told
    assert prometheus.url in told


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("up{", "cannot be read"),
        ("capper:pod_watts", "the query must give the labels service and instance"),
        ("nothing_at_all", "no readings that can be believed"),
    ],
)
def test_a_query_of_no_use_is_one_sentence(prometheus, capsys, query, sentence):
    assert main(["smooth", "--history", prometheus.url, "--query", query]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.strip().splitlines()) == 1


def test_nobody_there_is_one_sentence(capsys):
    assert main(["smooth", "--history", "http://127.0.0.1:9"]) == 2
    assert "day 1 of 7 of the history cannot be read" in capsys.readouterr().err


async def test_days_do_not_overlap_and_progress_is_told(prometheus):
    settings = PrometheusSettings(url=prometheus.url, timeout_seconds=20.0)
    querier = PrometheusQuerier(settings, SystemClock())
    builder, told = WeekBuilder(TraceRules(step_seconds=float(STEP))), []
    end = int(SystemClock().epoch_seconds()) // STEP * STEP
    try:
        digest = await read_history(
            querier,
            builder,
            query=DEFAULT_QUERY,
            start_seconds=end - 7 * DAY,
            end_seconds=float(end),
            step_seconds=float(STEP),
            progress=lambda read, days: told.append((read, days)),
        )
        rows = await querier.ranges().ask(
            DEFAULT_QUERY,
            start_epoch_seconds=end - DAY,
            end_epoch_seconds=end - STEP,
            step_seconds=STEP,
        )
        with pytest.raises(QueryError) as refused:
            await querier.ranges().ask(
                "up{", start_epoch_seconds=end - DAY, end_epoch_seconds=end, step_seconds=STEP
            )
    finally:
        await querier.aclose()
    assert told == [(day, 7) for day in range(1, 8)]
    assert len(digest) == 64
    assert refused.value.reason is FailureReason.HTTP_4XX
    assert sorted(row.labels["leaf"] for row in rows) == ["r1", "r1", "r2", "r2"]
    assert {len(row.points) for row in rows} == {DAY // STEP}
    found = builder.traces(start_seconds=end - 7 * DAY, end_seconds=end)
    assert {one.name: one.coverage_ratio for one in found.instances} == {
        f"llm/{name}": 1.0 for name in PODS
    }
    with pytest.raises(HistoryError, match=r"partial: there are readings for 50%"):
        builder.traces(start_seconds=end - 14 * DAY, end_seconds=end)
