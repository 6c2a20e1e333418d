"""`headrace serve` as a process, and `headrace check` and `explain` beside it."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from stack_files import LONELY_FLEET, MODEL, written
from stack_harness import chat_body, replica, running_stack
from telemetry_harness import free_port, until

HEADRACE = Path(sys.executable).with_name("headrace")
TIMEOUT_SECONDS = 30


def headrace(*arguments):
    """Run a command to its end: (exit status, standard output, standard error)."""
    result = subprocess.run(
        [str(HEADRACE), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env={"COLUMNS": "200", "PATH": "/usr/bin"},
    )
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def serve_file(tmp_path):
    """Writes a serve file beside its fleet file; free ports unless told otherwise."""
    written(tmp_path / "fleet.yaml", LONELY_FLEET)

    def write(**changes):
        sections = {
            "fleet": "fleet.yaml",
            "ext_proc": {"host": "127.0.0.1", "port": 0, "drain_seconds": 1},
            "admin": {"port": 0},
        }
        return written(tmp_path / "serve.yaml", sections | changes)

    return write


class Served:
    """A router process and where it listens."""

    def __init__(self, path, folder):
        self._ready_path = folder / "ready.json"
        self.log_path = folder / "serve.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [HEADRACE, "serve", "--config", path, "--ready-file", self._ready_path],
                stdout=log,
                stderr=log,
            )

    async def ready(self):
        async def has_said_so():
            assert self.process.poll() is None, self.log_path.read_text()
            return self._ready_path.exists()

        await until(has_said_so, seconds=TIMEOUT_SECONDS)
        return json.loads(self._ready_path.read_text(encoding="utf-8"))

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)


@pytest.fixture
def serve(tmp_path):
    served = []

    def begin(path):
        served.append(Served(path, tmp_path))
        return served[-1]

    yield begin
    for each in served:
        each.process.kill()
        each.process.wait()


# Bad input


def test_every_problem_of_a_broken_file_is_named_and_nothing_is_started(serve_file):
    path = serve_file(
        ext_proc={"drain_seconds": -1},
        admin={"port": 70_000},
        router={"policy": "best"},
        telemetry={"scrape": {"interval_seconds": 0}},
        typo=1,
    )
    status, output, problems = headrace("serve", "--config", path)

    assert (status, output) == (2, "")
    lines = problems.splitlines()
    assert all(line.startswith(f"{path}: ") and line.endswith(".") for line in lines)
    for field in (
        "ext_proc",
        "admin.port",
        "router",
        "telemetry.scrape.interval_seconds",
        "typo",
    ):
        assert [line for line in lines if line.startswith(f"{path}: {field}")], field
    assert headrace("check", path) == (2, "", problems)


def test_problems_of_the_fleet_file_are_named_too(serve_file, tmp_path):
    path = serve_file()
    (backend,) = LONELY_FLEET["backends"]
    broken = {"backends": [{**backend, "parameters": -1, "accelerator": "abacus"}]}
    written(tmp_path / "fleet.yaml", broken)
    status, _, problems = headrace("serve", "--config", path)
    assert status == 2
    assert f"{tmp_path}/fleet.yaml: backends.0.parameters: " in problems


def test_a_missing_file_is_one_sentence(tmp_path):
    path = tmp_path / "none.yaml"
    assert headrace("serve", "--config", path) == (
        2,
        "",
        f"{path}: cannot be read: No such file or directory.\n",
    )


@pytest.mark.parametrize("section", ["admin", "ext_proc", "socket"])
def test_an_address_in_use_is_one_sentence(serve_file, tmp_path, section):
    if section == "socket":
        taken = socket.socket(socket.AF_UNIX)
        address = str(tmp_path / "taken.sock")
        taken.bind(address)
        changes = {"ext_proc": {"unix_socket": address}}
    else:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        address = f"127.0.0.1:{port}"
        changes = {section: {"port": port}}
    with taken:
        taken.listen()
        status, output, said = headrace("serve", "--config", serve_file(**changes))

    assert (status, output) == (2, "")
    [sentence] = [line for line in said.splitlines() if " INFO " not in line]
    assert address in sentence
    assert sentence.startswith("ext_proc: " if section == "socket" else f"{section}: ")
    assert sentence.endswith(".")


# Start and end


async def test_it_says_where_it_listens_and_ends_well_on_sigterm(serve_file, serve):
    router = serve(serve_file())
    ready = await router.ready()
    assert ready["pid"] == router.process.pid
    for address in (*ready["ext_proc"], f"127.0.0.1:{ready['admin_port']}"):
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()

    assert router.end() == 0
    log = router.log_path.read_text(encoding="utf-8")
    assert "draining" in log
    assert "Traceback" not in log


async def test_ctrl_c_ends_it_as_well(serve_file, serve):
    router = serve(serve_file())
    await router.ready()
    assert router.end(signal.SIGINT) == 0


async def test_the_given_ports_are_taken_and_free_again_afterwards(serve_file, serve):
    for _ in range(2):
        admin, ext_proc = free_port(), free_port()
        router = serve(serve_file(admin={"port": admin}, ext_proc={"port": ext_proc}))
        ready = await router.ready()
        assert ready["admin_port"] == admin
        assert ready["ext_proc"] == [f"127.0.0.1:{ext_proc}"]
        assert router.end() == 0
        (router.log_path.parent / "ready.json").unlink()


@pytest.mark.envoy
async def test_sigterm_waits_for_the_requests_that_run(tmp_path):
    """The stream's end still reaches the ledger, and only then does the router go."""
    async with running_stack(tmp_path, [replica("one")], time_scale=1.0) as stack:
        engine = stack.fleet.server("one").replica
        answer = await stack.open_stream(max_tokens=8)
        engine.freeze()
        ending = asyncio.create_task(stack.lane.router.wait())
        stack.lane.router.send_signal(signal.SIGTERM)
        await stack.until_envoy_sees(healthy_replicas=1, routers=0)
        assert not ending.done()

        engine.thaw()
        assert b"[DONE]" in await answer.content.read()
        answer.close()
        assert await ending == 0
        log = stack.router_log()
    assert "draining" in log
    assert "streams open" not in log


# check and explain


def test_check_says_what_good_files_are(serve_file, tmp_path):
    path = serve_file()
    status, output, _ = headrace("check", path, tmp_path / "fleet.yaml")
    assert status == 0
    assert output.splitlines() == [
        f"{path}: a serve file: policy dispatch, 1 backends",
        f"{tmp_path}/fleet.yaml: a fleet of 1 backends and 1 replicas serving {MODEL}",
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory):
    replicas = [replica("a100-0", "A100"), replica("h100-0"), replica("h100-1")]
    async with running_stack(tmp_path_factory.mktemp("stack"), replicas) as stack:

        async def last_is_explained():
            """Of quick decisions only some are."""
            await stack.ask()
            [last, *_] = (await stack.admin("/debug/picks?last=1"))["picks"]
            return "explanation" in last

        await stack.ask()
        await stack.ask()
        await until(last_is_explained)
        yield stack


async def explain(stack, *arguments):
    """In a thread: the router scrapes replicas that live in this process."""
    return await asyncio.to_thread(headrace, "explain", "--admin", stack.lane.admin_url, *arguments)


@pytest.mark.envoy
@pytest.mark.asyncio(loop_scope="module")
async def test_the_last_decision_is_a_table_of_all_candidates(stack):
    status, table, said = await explain(stack, "--last", "1")
    assert (status, said) == (0, "")
    for address in stack.fleet.addresses.values():
        assert table.count(address) >= 1
    for title in ("merit J", "marginal J", "TPOT ms", "TTFT ms", "KV", "verdict"):
        assert title in table
    assert f"{MODEL}: " in table
    assert "(dispatch: " in table


@pytest.mark.envoy
@pytest.mark.asyncio(loop_scope="module")
async def test_several_decisions_come_as_json(stack):
    status, output, _ = await explain(stack, "--last", "3", "--json")
    picks = json.loads(output)["picks"]
    assert status == 0
    assert len(picks) == 3
    assert {pick["model"] for pick in picks} == {MODEL}
    [explained, *_] = [pick["explanation"] for pick in picks if "explanation" in pick]
    assert {it["address"] for it in explained["candidates"]} == set(stack.fleet.addresses.values())
    assert explained["chosen"] in stack.fleet.addresses.values()


@pytest.mark.envoy
@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_from_a_file_is_explained_and_not_entered(stack, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(chat_body(prompt_tokens=2000)), encoding="utf-8")
    before = await stack.picks_total()
    status, table, _ = await explain(stack, "--request", path)
    _, output, _ = await explain(stack, "--request", path, "--json")

    assert status == 0
    assert all(address in table for address in stack.fleet.addresses.values())
    explained = json.loads(output)
    assert explained["prompt_tokens"] == pytest.approx(2000, rel=0.1)
    assert len(explained["candidates"]) == 3
    assert await stack.picks_total() == before
    assert not sum((await stack.in_flight()).values())


@pytest.mark.envoy
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "says"),
    [("{", "not valid JSON"), ('{"model": "gpt-9"}', "The model 'gpt-9' does not exist")],
)
async def test_what_cannot_be_explained_is_one_sentence(stack, tmp_path, body, says):
    path = tmp_path / "request.json"
    path.write_text(body, encoding="utf-8")
    status, output, said = await explain(stack, "--request", path)
    assert (status, output) == (2, "")
    [sentence] = said.splitlines()
    assert says in sentence


def test_explain_without_a_router_is_one_sentence():
    status, _, said = headrace("explain", "--admin", f"http://127.0.0.1:{free_port()}")
    assert status == 2
    [sentence] = said.splitlines()
    assert sentence.startswith("explain: no router answers at http://127.0.0.1:")
