"""The runner of Envoy, with the real binary."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml
from envoy_harness import DEADLINE_SECONDS, eventually

from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, render_bootstrap
from headrace.envoy_process import EnvoyOptions, EnvoyProcess, EnvoyStartError, wheel_binary

pytestmark = pytest.mark.envoy

PLAN = EnvoyPlan(
    endpoints=(EnvoyEndpoint(address="127.0.0.1:9", models=("m",)),),
    ext_proc_targets=("unix:/nonexistent/router.sock",),
)
BOOTSTRAP = render_bootstrap(PLAN)
EXAMPLE = Path(__file__).parents[2] / "envoy" / "bootstrap.yaml"


def proc(pid, entry):
    return Path(f"/proc/{pid}/{entry}")


def alive(pid):
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        status = proc(pid, "stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_two_envoys_share_a_machine_and_leave_nothing_behind():
    async with EnvoyProcess(BOOTSTRAP) as one, EnvoyProcess(BOOTSTRAP) as other:
        pids, folders = {one.pid, other.pid}, {one.log_path.parent, other.log_path.parent}
        assert one.listener_address() != other.listener_address()
        assert one.listener_address()[1] > 0
        assert proc(one.pid, "exe").samefile(wheel_binary())
        assert (await one.stats("server.live"))["server.live"] == 1
    assert not any(alive(pid) for pid in pids)
    assert not any(folder.exists() for folder in folders)
    assert one.returncode == 0


async def test_a_refused_bootstrap_is_one_error_with_the_reason_of_envoy():
    bootstrap = render_bootstrap(PLAN)
    bootstrap["static_resources"]["clusters"][0]["connect_timeout"] = "soon"
    with pytest.raises(EnvoyStartError, match="ended with status 1 before it served") as raised:
        await EnvoyProcess(bootstrap).start()
    assert "connect_timeout" in str(raised.value)
    assert len(str(raised.value)) < 10_000


async def test_a_missing_binary_is_one_clear_error(tmp_path):
    options = EnvoyOptions(binary=tmp_path / "no-envoy")
    with pytest.raises(EnvoyStartError, match="no-envoy"):
        await EnvoyProcess(BOOTSTRAP, options).start()


async def test_an_envoy_that_is_not_ready_in_time_is_ended():
    envoy = EnvoyProcess(BOOTSTRAP, EnvoyOptions(ready_seconds=0.0))
    with pytest.raises(EnvoyStartError, match="not ready after 0 s"):
        await envoy.start()
    assert envoy.returncode is not None


async def test_an_envoy_that_ignores_sigterm_is_killed():
    options = EnvoyOptions(stop_seconds=0.2)
    async with EnvoyProcess(BOOTSTRAP, options) as envoy:
        os.kill(envoy.pid, signal.SIGSTOP)  # a stopped process handles no signal but SIGKILL
    assert envoy.returncode == -signal.SIGKILL


async def test_a_given_log_file_is_kept(tmp_path):
    options = EnvoyOptions(log_path=tmp_path / "envoy.log", log_level="info")
    async with EnvoyProcess(BOOTSTRAP, options) as envoy:
        assert envoy.log_path == tmp_path / "envoy.log"
    assert "starting main dispatch loop" in (tmp_path / "envoy.log").read_text()


async def test_envoy_may_open_as_many_files_as_the_machine_allows():
    async with EnvoyProcess(BOOTSTRAP) as envoy:
        limits = proc(envoy.pid, "limits").read_text().splitlines()
    [soft, hard] = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
    assert soft == hard


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
async def test_envoy_dies_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys, yaml\n"
        "from headrace.envoy_process import EnvoyProcess\n"
        "async def main():\n"
        "    async with EnvoyProcess(yaml.safe_load(sys.stdin)) as envoy:\n"
        "        print(envoy.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # a killed parent cannot clean up
    )
    parent.stdin.write(yaml.safe_dump(BOOTSTRAP).encode())
    parent.stdin.close()
    async with asyncio.timeout(DEADLINE_SECONDS):
        pid = int(await parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not alive(pid))


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        EnvoyPlan(
            endpoints=(
                EnvoyEndpoint(address="[::1]:8000", models=("a", "b")),
                EnvoyEndpoint(address="10.0.0.1:8000"),
            ),
            ext_proc_targets=("router.headrace.svc:9002", "127.0.0.1:9002"),
            access_log_path="/dev/null",
            withheld_headers=(),
        ),
    ],
    ids=["one model, unix", "two models, names"],
)
async def test_envoy_accepts_what_is_rendered(tmp_path, plan):
    path = tmp_path / "bootstrap.yaml"
    path.write_text(yaml.safe_dump(render_bootstrap(plan)))
    assert await validated(path) == 0


async def test_envoy_accepts_the_commented_example():
    assert await validated(EXAMPLE) == 0


async def validated(path):
    process = await asyncio.create_subprocess_exec(
        str(wheel_binary()), "--mode", "validate", "--config-path", str(path)
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await process.wait()
