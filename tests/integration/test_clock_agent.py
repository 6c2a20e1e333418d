"""`headrace agent` as a process: leases over gRPC, kill -9, owners, certificates, bad input."""

import urllib.request

import pytest
from clock_agent_harness import (
    Agent,
    Authority,
    build_library,
    held,
    hold_request,
    pool,
    running,
    until,
)

FREE = (0, 650.0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_library(tmp_path_factory)


@pytest.fixture
def agent(library, tmp_path):
    made = Agent(tmp_path / "node", library)
    yield made
    made.stop()


async def test_kill_minus_nine_with_clocks_lowered_and_the_next_agent_restores(agent):
    agent.start()
    boards = await held(pool(agent.address), "llm/chat-0", "llm/chat-1")
    assert {one.outcome for one in boards.values()} == {"held"}
    until(lambda: [agent.settings(0), agent.settings(1)] == [(780, 300), (780, 300)])
    agent.kill()
    assert agent.settings() == (780, 300)
    agent.start()  # ready only once it has looked at its record
    assert [agent.settings(0), agent.settings(1)] == [FREE, FREE]
    assert (agent.folder / "record" / "record.json").read_text().count("GPU-") == 0


async def test_hold_safe_limit_survives_the_agent_and_restore_ends_it(agent):
    agent.start()
    terms = {"on_lease_expiry": "HoldSafeLimit", "safe_limit_watts": 350.0, "lease_seconds": 0.3}
    await held(pool(agent.address), "llm/chat-0", **terms)
    until(lambda: agent.settings() == (0, 350))
    lines = metrics(agent)
    assert 'clock_agent_board_safe_limit{gpu_uuid="GPU-0",node="node-1"} 1.0' in lines
    counted = 'clock_agent_lease_expirations_total{node="node-1",policy="HoldSafeLimit"} 1.0'
    assert counted in lines
    agent.kill()
    agent.start()
    assert agent.settings() == (0, 350)
    agent.stop()
    assert agent.settings() == (0, 350)
    done = agent.run("--restore")
    assert (done.returncode, agent.settings()) == (0, FREE)
    assert "1 boards put back" in done.stdout


def metrics(agent):
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.ready['metrics_port']}/metrics") as page:
        return page.read().decode().splitlines()


async def test_sigterm_restores_and_a_lease_that_is_not_renewed_runs_out(agent):
    agent.start()
    agents = pool(agent.address)
    await held(agents, "llm/chat-0", lease_seconds=0.5)
    until(lambda: agent.settings() == (780, 300))
    until(lambda: agent.settings() == FREE)
    await held(agents, "llm/chat-0", "llm/chat-1")
    # What is left out of the next request is let go.
    await held(agents, "llm/chat-1")
    until(lambda: [agent.settings(0), agent.settings(1)] == [FREE, (780, 300)])
    agent.stop()
    assert agent.settings(1) == FREE


async def test_only_callers_with_the_right_name_may_claim(library, tmp_path):
    authority, stranger = Authority(), Authority()
    server = authority.issue(tmp_path / "server", "headrace-agent")
    listen = {
        "port": 0,
        "tls": {"folder": str(server), "client_ca_file": str(server / "ca.crt")},
    }
    with running(Agent(tmp_path / "node", library, listen=listen)) as agent:

        async def asked(by, name):
            folder = by.issue(tmp_path / name, name)
            (folder / "ca.crt").write_bytes((server / "ca.crt").read_bytes())
            agents = pool(agent.address, tls={"folder": folder})
            answer = await agents.hold(hold_request("llm/chat-0"))
            await agents.aclose()
            return answer

        replies, failures = await asked(authority, "headrace-agent")
        assert replies == []
        assert "allowed is headrace-capper" in failures[0]
        replies, failures = await asked(stranger, "headrace-capper")
        assert (replies, len(failures), agent.settings()) == ([], 1, FREE)
        # Files that are replaced count for a pool that is there already.
        agents = pool(agent.address, tls={"folder": tmp_path / "headrace-capper"})
        assert (await agents.hold(hold_request("llm/chat-0")))[0] == []
        authority.issue(tmp_path / "headrace-capper", "headrace-capper")
        replies, failures = await agents.hold(hold_request("llm/chat-0"))
        assert (len(replies), failures) == (1, [])
        until(lambda: agent.settings() == (780, 300))
        (tmp_path / "headrace-capper" / "tls.key").unlink()
        replies, failures = await agents.hold(hold_request("llm/chat-0"))
        assert (replies, "certificate cannot be read" in failures[0]) == ([], True)


async def test_requests_that_make_no_sense_are_answered_with_the_field(agent):
    agent.start()
    agents = pool(agent.address)
    for fields, words in (
        ({"lease_seconds": 0.0}, "lease_seconds"),
        ({"lease_seconds": float("nan")}, "lease_seconds"),
        ({"mega_hertz": float("inf")}, "finite"),
        ({"watts": -1.0}, "not negative"),
        ({"on_lease_expiry": "Never"}, "Restore or HoldSafeLimit"),
    ):
        replies, failures = await agents.hold(hold_request("llm/chat-0", **fields))
        assert (replies, len(failures)) == ([], 1)
        assert words in failures[0]
    assert agent.settings() == FREE


def test_a_second_agent_ends_with_one_sentence(agent):
    agent.start()
    second = agent.run()
    assert second.returncode == 2
    assert "another clock agent runs on this node" in second.stderr
