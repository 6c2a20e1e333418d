"""The rivals, the figures and the page of `headrace bench peers`."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.peers_catalogue import PEERS, Peer, Place
from headrace.bench.peers_figures import (
    DIRECT,
    ENVOY,
    HEADRACE,
    OWN,
    Cell,
    Memory,
    Sample,
    document,
    figures,
)
from headrace.bench.peers_install import installed_version, why_absent
from headrace.bench.peers_page import described, page
from headrace.bench.peers_table import tables
from headrace.main import main

ADDRESSES = [f"127.0.0.{n}:80{n:02}" for n in range(1, 9)]
PLACE = Place(
    addresses=ADDRESSES, model="llama", port=4001, metrics_port=4002, config_path="c.yaml"
)
CELL = Cell(replicas=8, body_bytes=512, concurrency=16)
CPU_SECONDS = {DIRECT: None, ENVOY: 1e-4, HEADRACE: 4e-4, "rival": 1e-3}
RIVAL = Peer(
    name="rival",
    what="a rival",
    requirement="rival==2",
    command="rival",
    arguments=(),
    ready_path="/",
    policy="random",
    body="does not look",
)


def sample(arm, *, p50=0.001):
    return Sample(
        requests_per_second=1000.0,
        failed_requests=1 if arm == "rival" else 0,
        cpu_seconds=CPU_SECONDS[arm],
        latency_p50_seconds=p50,
        latency_p99_seconds=2 * p50,
        load_cpu_ratio=0.1,
    )


def one_round(arms=(*OWN, "rival"), *, direct_p50=0.001, rival_p50=0.01):
    return {
        arm: sample(arm, p50={DIRECT: direct_p50, "rival": rival_p50}.get(arm, 0.002))
        for arm in arms
    }


def report(rounds, *, absent=None):
    return document(
        [(CELL, figures(rounds, (*OWN, "rival")))],
        [Memory(arm=HEADRACE, replicas=8, peak_bytes=100 * 2**20)],
        described([RIVAL], {"rival": "2"}, absent or {}),
        rounds=len(rounds),
        window_seconds=1.0,
        machine={"cores": 2, "memory_bytes": 2**34, "processor": "x86_64", "python": "3.11"},
    )


@pytest.mark.parametrize("peer", PEERS, ids=lambda it: it.name)
def test_a_rival_serves_on_loopback_before_every_upstream(peer):
    argv = peer.argv(PLACE)
    told = "\n".join(argv)
    if peer.config is not None:
        told += json.dumps(peer.config(PLACE))
        assert "c.yaml" in argv
    for address in ADDRESSES:
        assert re.search(rf"http://{re.escape(address)}\b", told)
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--port") + 1] == "4001"
    assert "0.0.0.0" not in told
    assert not re.search(r"[{}]", "\n".join(argv))


@pytest.mark.parametrize("peer", PEERS, ids=lambda it: it.name)
def test_a_rival_is_pinned_or_says_why_it_has_no_pin(peer):
    if peer.requirement is None:
        assert peer.missing
    else:
        assert re.fullmatch(r"[a-z-]+(\[[a-z]+\])?==[0-9]+(\.[0-9]+)+", peer.requirement)


def test_rivals_have_a_folder_each():
    assert len({it.name for it in PEERS} | set(OWN)) == len(PEERS) + len(OWN)


def test_figures_are_medians_and_what_is_added_is_of_the_same_round():
    rounds = [
        one_round(rival_p50=0.010, direct_p50=0.001),
        one_round(rival_p50=0.020, direct_p50=0.002),
        one_round(rival_p50=0.100, direct_p50=0.090),
    ]
    found = {it.arm: it for it in figures(rounds, (*OWN, "rival"))}
    assert list(found) == [*OWN, "rival"]
    assert found["rival"].latency_p50_seconds == 0.020
    assert found["rival"].added_p50_seconds == pytest.approx(0.010)  # of 9, 18 and 10 ms
    assert found["rival"].requests_per_core_second == pytest.approx(1000)
    assert found["rival"].cpu_ratio == pytest.approx(2.5)
    assert found["rival"].failed_requests == 3
    assert found[HEADRACE].cpu_ratio == 1.0
    assert found[DIRECT].cpu_seconds is found[DIRECT].requests_per_core_second is None


def test_who_served_in_no_round_has_no_figures_and_who_served_in_some_has():
    assert [it.arm for it in figures([one_round(OWN)], (*OWN, "rival"))] == list(OWN)
    found = figures([one_round(), one_round(OWN)], (*OWN, "rival"))
    assert found[-1].arm == "rival"
    assert found[-1].failed_requests == 1


def test_an_arm_that_answered_nothing_has_no_latency_and_no_cpu_per_request():
    silent = Sample(
        requests_per_second=0.0,
        failed_requests=16,
        cpu_seconds=None,
        latency_p50_seconds=None,
        latency_p99_seconds=None,
        load_cpu_ratio=0.1,
    )
    rival = figures([{**one_round(OWN), "rival": silent}], (*OWN, "rival"))[-1]
    assert rival.added_p50_seconds is rival.cpu_seconds is rival.requests_per_core_second is None
    assert rival.failed_requests == 16


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5), st.data())
def test_cpu_ratios_are_to_headrace(cpus, data):
    rounds = [
        {**one_round(OWN), "rival": sample("rival", p50=data.draw(st.floats(1e-4, 1.0)))}
        for _ in cpus
    ]
    for one in figures(rounds, (*OWN, "rival")):
        if one.cpu_seconds is not None:
            assert one.cpu_ratio * CPU_SECONDS[HEADRACE] == pytest.approx(one.cpu_seconds)
            assert one.requests_per_core_second * one.cpu_seconds == pytest.approx(1)


def test_the_page_has_a_row_of_every_arm_and_says_who_is_missing_and_why():
    found = report([one_round()], absent={"rival": "did not come up; its log:\nno such flag"})
    assert json.loads(json.dumps(found))["schema"] == 1
    text = page(found)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows if len(row) == 11 and row[1] == "16"] == [
        f"| {arm}" for arm in (*OWN, "rival")
    ]
    assert "- rival: did not come up; its log:\n\n      no such flag\n" in text
    assert "| rival | 2 | a rival | random | does not look |" in text
    assert "| 8 | headrace | 100 |" in text


def test_the_terminal_gets_a_table_of_each_cell_and_one_of_memory():
    cell, memory = tables(report([one_round()]))
    assert (cell.row_count, memory.row_count) == (4, 1)


def test_a_rival_is_there_when_the_pinned_version_is_marked_as_installed(tmp_path):
    assert "--install" in why_absent(RIVAL, tmp_path)
    home = tmp_path / "rival"
    home.mkdir()
    (home / "requirement.txt").write_text("rival==1\n")
    assert "rival==1 is installed, rival==2 is asked for" in why_absent(RIVAL, tmp_path)
    (home / "requirement.txt").write_text("rival==2\n")
    assert why_absent(RIVAL, tmp_path) is None


def test_a_rival_that_no_index_has_is_there_when_its_command_is(tmp_path):
    peer = next(it for it in PEERS if it.requirement is None)
    assert peer.missing in why_absent(peer, tmp_path)
    command = tmp_path / peer.name / "bin" / peer.command
    command.parent.mkdir(parents=True)
    command.touch()
    assert why_absent(peer, tmp_path) is None
    assert installed_version(peer, tmp_path) is None


def test_a_folder_that_is_not_there_is_one_sentence(capsys, tmp_path):
    path = tmp_path / "nowhere" / "peers.json"
    assert main(["bench", "peers", "--report", str(path)]) == 2
    assert f"{path}: there is no such folder." in capsys.readouterr().err
