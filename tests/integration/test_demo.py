"""`headrace demo` as a user runs it: what it reports, how it is stopped, what it leaves behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.envoy

HEADRACE = Path(sys.executable).with_name("headrace")
DATA = Path(os.environ.get("HEADRACE_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
AZURE = DATA / "traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv"
DEADLINE_SECONDS = 60.0
REQUESTS = 30


def processes_of(folder):
    """Command lines of the processes that name a folder, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                continue  # gone meanwhile
            if str(folder) in line:
                found[int(entry.name)] = line
    return found


def wait_until(condition, *, what):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.05)
    return result


class Demo:
    """A demo in a session and a temporary folder of its own, by which its children are known."""

    def __init__(self, *arguments, folder, **environment):
        self.folder = folder
        self._output_path = folder.with_name(f"{folder.name}-output.txt")
        with self._output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [str(HEADRACE), "demo", *arguments],
                env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "160", **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
                # A runner in the background ignores SIGINT, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
            )

    @property
    def output(self):
        return self._output_path.read_text(encoding="utf-8")

    def ended(self):
        """Its exit status, once it and all it started are gone."""
        try:
            status = self.process.wait(DEADLINE_SECONDS)
        finally:
            self.kill()
        wait_until(lambda: not processes_of(self.folder), what="the end of all children")
        return status

    def runs(self, word):
        """Whether a child with this word in its command line runs."""
        assert self.process.poll() is None, self.output
        return any(word in line for line in processes_of(self.folder).values())

    def answers(self):
        """Whether requests have come through Envoy, which writes its log about once a second."""
        assert self.process.poll() is None, self.output
        return any(log.stat().st_size for log in self.folder.glob("*/*/lane/access.log"))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def start():
    """Starts demos; none outlives the module. Sockets need short paths, pytest's are long."""
    demos = []

    def begin(*arguments, **environment):
        folder = Path(tempfile.mkdtemp(prefix="headrace-test-", dir="/tmp"))
        demos.append(Demo(*arguments, folder=folder, **environment))
        return demos[-1]

    yield begin
    for demo in demos:
        demo.kill()
        shutil.rmtree(demo.folder)
        demo._output_path.unlink()


@pytest.fixture(scope="module")
def no_prometheus(tmp_path_factory):
    """A PATH with nothing on it."""
    return {"PATH": str(tmp_path_factory.mktemp("empty"))}


# A whole run


@pytest.fixture(scope="module")
def whole_run(start, tmp_path_factory):
    """(exit status, output, report) of the two arms."""
    path = tmp_path_factory.mktemp("report") / "demo.json"
    demo = start("--requests", str(REQUESTS), "--rate", "15", "--exit", "--report", str(path))
    status = demo.ended()
    return status, demo.output, json.loads(path.read_text(encoding="utf-8"))


def test_a_whole_run_ends_well_and_says_what_it_compared(whole_run):
    status, output, report = whole_run
    assert status == 0, output
    telemetry = "Prometheus and direct scrape" if shutil.which("prometheus") else "direct scrape"
    assert f"telemetry: {telemetry}" in output
    assert "joules per token than least-request (simulated)" in output
    assert report["schema"] == 1
    assert report["inputs"] | {"sha256": "", "requests_per_second": 15.0} == {
        "source": "azure-like generator",
        "sha256": "",
        "requests": REQUESTS,
        "requests_per_second": 15.0,
        "seed": 0,
        "telemetry": telemetry,
    }
    assert report["inputs"]["requests_per_second"] == pytest.approx(15.0)
    assert re.fullmatch("[0-9a-f]{64}", report["inputs"]["sha256"])
    assert [arm["policy"] for arm in report["arms"]] == ["dispatch", "least-request"]


def test_arrivals_that_are_over_too_soon_for_a_cap_step_are_told(whole_run):
    """The step itself: test_demo_cap.py."""
    _, output, report = whole_run
    reason = "it takes 33 s of arrivals, these are 1.9 s"
    assert report["cap_step"] == {"happened": False, "because": reason}
    assert output.count(f"No cap step: {reason}.") == 2
    assert all(not arm["metering"]["some_slept"] for arm in report["arms"])


def test_the_figures_of_a_report_add_up(whole_run):
    *_, report = whole_run
    for arm in report["arms"]:
        client, backends = arm["client"], arm["backends"].values()
        assert (client["requests"], client["completed"], client["failed"]) == (
            REQUESTS,
            REQUESTS,
            0,
        )
        assert sum(backend["requests"] for backend in backends) == REQUESTS
        assert sum(backend["share_of_picks_ratio"] for backend in backends) == pytest.approx(1.0)
        assert sum(arm["pick_reasons"].values()) == REQUESTS
        assert sum(client["requests_by_replica"].values()) == REQUESTS
        for name, backend in arm["backends"].items():
            served = client["requests_by_replica"].items()
            assert sum(count for replica, count in served if name in replica) == backend["requests"]
        metering = arm["metering"]
        assert metering["request_joules"] > 0.0
        assert abs(metering["conservation_ratio"]) <= 0.001
        assert metering["conserved"]
        tokens = sum(backend["output_tokens"] for backend in backends)
        assert tokens == arm["output_tokens"] == client["output_tokens"]
        dynamic = sum(backend["dynamic_joules"] for backend in backends)
        assert dynamic == pytest.approx(arm["simulated_dynamic_joules"])
        idle_watts = sum(backend["idle_watts"] for backend in backends)
        joules = dynamic + idle_watts * report["window_seconds"]
        assert joules == pytest.approx(arm["simulated_energy_joules"])
        assert joules / tokens == pytest.approx(arm["simulated_energy_joules_per_token"])
    windows = [arm["own_window_seconds"] for arm in report["arms"]]
    assert max(windows) == report["window_seconds"]


def test_the_comparison_is_the_ratio_of_the_arms_and_dispatch_is_well_below(whole_run):
    *_, report = whole_run
    ours, theirs = report["arms"]
    compared = report["comparison"]
    for key in ("simulated_energy_joules_per_token", "simulated_dynamic_joules"):
        assert compared[f"{key}_ratio"] == pytest.approx(ours[key] / theirs[key])
    assert compared["simulated_energy_joules_per_token_ratio"] < 0.9
    assert compared["simulated_dynamic_joules_ratio"] < 0.7
    assert compared["failed_requests"] == 0
    assert ours["output_tokens"] == theirs["output_tokens"]
    difference = ours["client"]["attainment_ratio"] - theirs["client"]["attainment_ratio"]
    assert compared["attainment_ratio_difference"] == pytest.approx(difference)


def test_without_prometheus_it_says_so_scrapes_directly_and_replays_a_trace(
    start, no_prometheus, tmp_path
):
    """The recorded trace when the data is there, else one of the same format."""
    trace = AZURE
    if not trace.is_file():
        sys.stderr.write(f"NO {AZURE}: the demo is tried on a made-up trace (set HEADRACE_DATA)\n")
        trace = tmp_path / "made-up.csv"
        rows = [f"2023-11-16 18:15:{10 + k}.0000000,374,44" for k in range(8)]
        trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    path = tmp_path / "demo.json"
    demo = start(
        *("--trace", str(trace), "--requests", "8", "--rate", "8"),
        *("--policy", "least-request", "--exit", "--report", str(path)),
        **no_prometheus,
    )
    status = demo.ended()
    report = json.loads(path.read_text(encoding="utf-8"))

    assert status == 0, demo.output
    assert "telemetry: direct scrape" in demo.output
    assert report["inputs"]["telemetry"] == "direct scrape"
    assert report["inputs"]["source"] == trace.name
    [arm] = report["arms"]  # least-request is its own rival
    assert report["comparison"] is None
    assert (arm["client"]["completed"], arm["client"]["failed"]) == (8, 0)


def test_afterwards_it_serves_on_at_the_given_port_until_ctrl_c(start, no_prometheus):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo = start(
        *("--requests", "2", "--policy", "least-request", "--port", str(port)),
        **no_prometheus,
    )
    wait_until(lambda: "Yours until Ctrl-C" in demo.output or demo.process.poll(), what="opening")
    assert f"http://127.0.0.1:{port}/v1" in demo.output
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10) as answer:
        models = json.load(answer)
    [admin] = re.findall(r"explain --admin\s+(http://\S+)", demo.output)
    explained = subprocess.run(
        [str(HEADRACE), "explain", "--admin", admin], check=False, capture_output=True, text=True
    )

    demo.process.send_signal(signal.SIGINT)

    assert demo.ended() == 0, demo.output
    assert [model["id"] for model in models["data"]] == ["llama-3.1-8b", "llama-3.1-8b-support"]
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "has not decided anything yet" in explained.stdout


# How it is stopped


def interrupted_group(demo):
    """As a terminal does it."""
    os.killpg(demo.process.pid, signal.SIGINT)


def interrupted_alone(demo):
    demo.process.send_signal(signal.SIGINT)


def terminated(demo):
    demo.process.send_signal(signal.SIGTERM)


def starting(demo):
    return demo.runs("loadtest.fleet_control")


@pytest.mark.parametrize("moment", [starting, Demo.answers], ids=["starting", "answering"])
@pytest.mark.parametrize(
    ("stop", "status"),
    [(interrupted_group, 130), (interrupted_alone, 130), (terminated, 143)],
    ids=["ctrl-c", "sigint", "sigterm"],
)
def test_stopped_in_the_middle_it_leaves_no_process_and_no_file(start, stop, status, moment):
    demo = start("--requests", "400")
    wait_until(lambda: moment(demo), what="the moment")

    stop(demo)

    assert demo.ended() == status, demo.output
    assert "Traceback" not in demo.output
    assert list(demo.folder.iterdir()) == []


def test_killed_it_takes_its_children_along(start):
    demo = start("--requests", "400")
    wait_until(lambda: demo.runs("envoy"), what="its start")
    wait_until(lambda: len(processes_of(demo.folder)) >= 3, what="all children")

    demo.process.kill()

    assert demo.ended() == -signal.SIGKILL


# Bad input


def refused(*arguments):
    """The sentences that a demo which never starts leaves on standard error."""
    result = subprocess.run(
        [str(HEADRACE), "demo", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert (result.returncode, result.stdout) == (2, "")
    return result.stderr.splitlines()


def test_every_bad_flag_is_named_in_a_sentence_of_its_own(tmp_path):
    said = refused(
        *("--requests", "0", "--rate", "inf", "--duration-seconds", "nan"),
        *("--port", "65536", "--report", str(tmp_path / "none/demo.json")),
    )
    assert len(said) == 5
    for flag in ("--requests", "--rate", "--duration-seconds", "--port", "--report"):
        [sentence] = [line for line in said if flag in line]
        assert sentence.startswith("demo: ")
        assert sentence.endswith(".")


def test_an_unknown_policy_is_refused_with_the_known_ones():
    assert "'dispatch'" in refused("--policy", "best")[-1]


def test_a_port_in_use_and_a_folder_as_report_are_refused_before_anything_runs(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("--port", str(port), "--report", str(tmp_path))
    assert said == [
        f"demo: --port {port} is in use.",
        f"demo: --report {tmp_path}: is a folder, must be a file.",
    ]


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.68,374,many"], ":2: "),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "yesterday,374,4"], ":2: "),
        (
            [
                "TIMESTAMP,ContextTokens,GeneratedTokens",
                "2023-11-16 18:15:46,374,4",
                "2023-11-16 18:15:45,374,4",
            ],
            ":3: ",
        ),
        (["TIMESTAMP,ContextTokens,GeneratedTokens"], ": "),
        (None, ": "),
    ],
    ids=["tokens", "time", "order", "empty", "missing"],
)
def test_a_bad_trace_is_refused_in_one_sentence_with_file_and_line(tmp_path, rows, where):
    trace = tmp_path / "trace.csv"
    if rows is not None:
        trace.write_text("\n".join(rows) + "\n", encoding="utf-8")
    [sentence] = refused("--trace", str(trace), "--exit")
    assert sentence.startswith(f"demo: {trace}{where}")
