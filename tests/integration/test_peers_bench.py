"""`headrace bench peers` for real, as short as it gets.

Envoy itself stands in for a rival: a real proxy that is at hand without any download.
"""

import asyncio
import subprocess
import sys
import textwrap
import zipfile

import pytest
from rich.console import Console

from headrace.bench.children import upstream
from headrace.bench.extproc_generator import Generator
from headrace.bench.lanes import bootstrap
from headrace.bench.peers_catalogue import Peer
from headrace.bench.peers_figures import OWN
from headrace.bench.peers_install import (
    PeerInstallError,
    _run,
    install_missing,
    installed_version,
    why_absent,
)
from headrace.bench.peers_run import Grid, measure
from headrace.bench.peers_start import rival
from headrace.bench.process_tree import members, tree_cpu_seconds, tree_peak_bytes
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import wheel_binary

QUIET = Console(quiet=True)
GRID = Grid(lanes=((2, (2,)),), body_bytes=(512, 100_000), rounds=1, window_seconds=0.3)


def peer(name, **changes):
    values = {
        "name": name,
        "what": name,
        "requirement": None,
        "command": name,
        "arguments": (),
        "ready_path": "/v1/models",
        "policy": "least request",
        "body": "does not look",
        "missing": "made by the test",
    }
    return Peer(**{**values, **changes})


def envoy_on_port(place):
    config = bootstrap(place.addresses, (), EnvoyBodyMode.BUFFERED)
    address = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    address["port_value"] = place.port
    return config


# A shell in between: the arm's processes are counted with their children.
ENVOY = peer(
    "second-envoy",
    config=envoy_on_port,
    arguments=("--config-path", "{config_path}", "--disable-hot-restart", "--concurrency", "1"),
)
REFUSES = peer("refuses")
LEAVES = peer("leaves", arguments=("{port}", "{url_list}"))
AWAY = peer("away", requirement="away==1")


def command(folder, wanted, text):
    path = folder / wanted.name / "bin" / wanted.command
    path.parent.mkdir(parents=True)
    path.write_text(textwrap.dedent(text))
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path):
    command(tmp_path, ENVOY, f'#!/bin/sh\n{wheel_binary()} "$@" &\nwait\n')
    command(tmp_path, REFUSES, "#!/bin/sh\necho no such option: --load >&2\nexit 2\n")
    # Answers the probe and the first requests, then ends.
    command(
        tmp_path,
        LEAVES,
        f"""\
        #!{sys.executable}
        import http.server, os, sys
        class Handler(http.server.BaseHTTPRequestHandler):
            left = 20
            protocol_version = "HTTP/1.1"
            def do_GET(self):
                size = int(self.headers.get("content-length", 0))
                self.rfile.read(size)
                Handler.left -= 1
                if Handler.left < 0:
                    os._exit(1)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()
            do_POST = do_GET
        http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
        """,
    )
    return tmp_path


@pytest.mark.envoy
def test_rivals_are_measured_or_reported_and_the_others_go_on(folder):
    peers = (ENVOY, REFUSES, LEAVES, AWAY)
    report = asyncio.run(measure(GRID, peers, folder, QUIET))

    assert len(report["cells"]) == 2
    for cell in report["cells"]:
        assert [one["arm"] for one in cell["figures"]] == [*OWN, "second-envoy"]
        assert all(one["failed_requests"] == 0 for one in cell["figures"])
        assert all(one["requests_per_second"] > 0 for one in cell["figures"])
    assert [it["arm"] for it in report["memory"]] == ["envoy", "headrace", "second-envoy"]
    assert all(it["peak_bytes"] > 2**20 for it in report["memory"])

    versions = {it["name"]: it["version"] for it in report["arms"]}
    assert versions["envoy"]
    assert versions["headrace"]
    assert versions["away"] is None
    absent = {it["name"]: it["absent"] for it in report["arms"]}
    assert list(absent) == [*OWN, *(it.name for it in peers)]
    assert [absent[name] for name in (*OWN, "second-envoy")] == [None] * 4
    assert absent["refuses"].startswith("with 2 replicas refuses did not come up")
    assert absent["refuses"].endswith("no such option: --load")
    assert absent["leaves"] == "from 512 bytes, 4 connections: leaves ended while it was measured."
    assert "--install" in absent["away"]


def lives(pid):
    try:
        tree_cpu_seconds([pid])
    except ProcessLookupError:
        return False
    return True


@pytest.mark.envoy
async def test_nothing_of_a_rival_is_left(folder, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    async with upstream("peers_upstream", 2) as addresses, Generator.running() as generator:
        path = folder / ENVOY.name / "bin" / ENVOY.command
        async with rival(ENVOY, path, addresses, logs) as arm:
            family = members(arm.roots)
            assert len(family) == 2  # shell and Envoy
            sample = await arm.measure(generator, body_bytes=512, concurrency=2, seconds=0.3)
            assert sample.cpu_seconds > 0
    async with asyncio.timeout(5):
        while any(map(lives, family)):
            await asyncio.sleep(0.01)


def test_cpu_time_is_that_of_children_too_ended_or_not():
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    program = (
        "import subprocess, sys\n"
        f"burn = {burn!r}\n"
        "subprocess.run([sys.executable, '-c', burn], check=True)\n"
        "live = subprocess.Popen([sys.executable, '-c', burn + 'print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE)\n"
        "input()\n"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert len(members([process.pid])) == 2
        assert tree_cpu_seconds([process.pid]) >= 0.58  # ticks of 10 ms
        assert tree_peak_bytes([process.pid]) > 2 * 2**20
        process.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        tree_peak_bytes([process.pid])


def wheel(folder, name):
    """A wheel with one command, without dependencies."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    texts = {
        f"{name}.py": "def main():\n    print('here')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    texts[f"{info}/RECORD"] = "".join(f"{it},,\n" for it in (*texts, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name_in_archive, text in texts.items():
            archive.writestr(name_in_archive, text)
    return path


def test_a_rival_is_installed_into_an_environment_of_its_own(tmp_path):
    there = peer("there", requirement=str(wheel(tmp_path, "there")))
    assert install_missing([there], tmp_path, QUIET) == {}
    assert why_absent(there, tmp_path) is None
    assert installed_version(there, tmp_path) == "1.0"
    said = subprocess.run([tmp_path / "there/bin/there"], check=True, capture_output=True)
    assert said.stdout == b"here\n"


def test_a_step_that_fails_is_told_with_the_end_of_its_log(tmp_path):
    there = peer("there", requirement="there==1")
    argv = [sys.executable, "-c", "print('no matching distribution'); raise SystemExit(1)"]
    with pytest.raises(PeerInstallError) as caught:
        _run(there, argv, tmp_path / "install.log")  # pip itself would ask the network
    assert str(caught.value).splitlines() == [
        "there==1 did not install; the end of its log:",
        "no matching distribution",
    ]


def test_rivals_that_cannot_be_installed_are_named_and_the_others_go_on(tmp_path):
    (tmp_path / "there").write_text("not a folder")
    failed = install_missing([peer("there", requirement="there==1")], tmp_path, QUIET)
    assert failed == {"there": f"{tmp_path / 'there'}: cannot be written: File exists."}
