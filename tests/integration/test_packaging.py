"""The wheel as a user gets it: built from the tracked files, run far away from them."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"capper", "fleet", "headrace", "loadtest", "router", "telemetry"}
FLEET = """
backends:
  - name: h100
    accelerator: H100
    parameters: 8e9
    models: [llama]
    replicas: [{address: "127.0.0.1:9"}]
"""
# Runs the command line while noting every path that Python is asked to write, make, move or remove.
WATCHED = """
import json, os, sys
writes, log = [], sys.argv.pop(1)
changing = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}
def watch(event, args):
    if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        writes.append(str(args[0]))
    elif event in changing:
        writes.append(str(args[0]))
sys.addaudithook(watch)
from headrace.main import main
try:
    status = main(sys.argv[1:])
finally:
    seen = list(writes)
    with open(log, "w") as file:
        json.dump(seen, file)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def pip(tmp_path_factory):
    """A pip of its own: a virtual environment made by uv has none."""
    folder = tmp_path_factory.mktemp("pip")
    venv.create(folder, with_pip=True)
    return [str(folder / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(pip, tmp_path_factory):
    """A wheel of what git tracks or would track, built in isolation as `pip install .` does."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run([*pip, "wheel", "--no-deps", "--wheel-dir", str(built), str(source)])
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(pip, wheel, tmp_path_factory):
    """A folder with the wheel alone in it."""
    target = tmp_path_factory.mktemp("installed")
    run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)])
    return target


def run(command: list[str], **options) -> str:
    result = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def python_beside(installed: Path) -> tuple[list[str], dict[str, str]]:
    """An interpreter that finds the installed wheel, then the dependencies, never the tree.

    Without `site` no .pth file is read, so the editable installation is out of the game.
    """
    dependencies = Path(pytest.__file__).parents[1]
    return [sys.executable, "-S"], {"PYTHONPATH": f"{installed}:{dependencies}", "PATH": "/usr/bin"}


@pytest.fixture
def elsewhere(tmp_path):
    """A working directory that nothing can be written into (except by root)."""
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    return folder


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    suffixes = {Path(name).suffix for name in names if name.split("/")[0] in PACKAGES}
    assert suffixes == {".csv", ".json", ".py", ".typed", ".yaml"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_holds_every_module_of_the_tree(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules - names == set()


def test_the_installed_command_says_its_version_and_comes_from_the_wheel(installed, elsewhere):
    python, environment = python_beside(installed)
    command = [*python, str(installed / "bin/headrace"), "--version"]
    assert re.fullmatch(r"headrace \d+\.\d+\.\d+\n", run(command, env=environment, cwd=elsewhere))
    code = f"import {', '.join(sorted(PACKAGES))}; print(headrace.__file__, router.__file__)"
    found = run([*python, "-c", code], env=environment, cwd=elsewhere).split()
    assert found == [f"{installed}/headrace/__init__.py", f"{installed}/router/__init__.py"]


def test_the_installed_command_checks_a_file_and_refuses_a_broken_one(
    installed, elsewhere, tmp_path
):
    python, environment = python_beside(installed)
    good, bad = tmp_path / "fleet.yaml", tmp_path / "bad.yaml"
    good.write_text(FLEET, encoding="utf-8")
    bad.write_text("backends: 3\n", encoding="utf-8")
    command = [*python, str(installed / "bin/headrace"), "check"]
    told = run([*command, str(good)], env=environment, cwd=elsewhere)
    assert told == f"{good}: a fleet of 1 backends and 1 replicas serving llama\n"
    refused = subprocess.run(
        [*command, str(bad)],
        check=False,
        env=environment,
        cwd=elsewhere,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{bad}: backends: ")


def test_the_installed_router_serves_and_writes_to_no_file_but_those_it_was_told(
    installed, elsewhere, tmp_path
):
    """What a read-only root file system asks of it; sockets are the kernel's and not seen here."""
    python, environment = python_beside(installed)
    ready, log = tmp_path / "ready.json", tmp_path / "writes.json"
    (tmp_path / "fleet.yaml").write_text(FLEET, encoding="utf-8")
    config = tmp_path / "serve.yaml"
    config.write_text(
        f"fleet: fleet.yaml\next_proc: {{unix_socket: {tmp_path}/s, drain_seconds: 1}}\n"
        "admin: {port: 0}\ntelemetry: {prometheus: {url: 'http://127.0.0.1:9'}}\n",
        encoding="utf-8",
    )
    command = [*python, "-c", WATCHED, str(log), "serve", "--config", str(config)]
    with (tmp_path / "stderr").open("wb") as stderr:
        router = subprocess.Popen(
            [*command, "--ready-file", str(ready)],
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            cwd=elsewhere,
            stderr=stderr,
        )
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and router.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ready.exists(), (tmp_path / "stderr").read_text()
        router.send_signal(signal.SIGTERM)
        assert router.wait(timeout=30) == 0, (tmp_path / "stderr").read_text()
    finally:
        router.kill()
        router.wait()
    assert json.loads(ready.read_text())["pid"] == router.pid
    written = set(json.loads(log.read_text())) - {"/dev/null"}
    assert written <= {str(ready), f"{ready}.partial"}
