"""The file of `headrace agent`: what is wrong is said with its field, exit code 2."""

import pytest
import yaml

from headrace.agent_file import load_agent
from headrace.main import main

OWNERS = {"owners": {"llm/chat-0": ["GPU-0"]}}


def written(folder, config):
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "give kubelet_socket, or owners"),
        ({**OWNERS, "listen": {"host": "0.0.0.0"}}, "tls is required where host is not loopback"),
        ({**OWNERS, "beat_seconds": 0}, "beat_seconds: input should be greater than 0, got 0"),
        ({**OWNERS, "clock": 1}, "clock: is not a known field"),
        ({**OWNERS, "listen": {"tls": {"folder": "x"}}}, "listen.tls.client_ca_file: is required"),
        ({**OWNERS, "record_folder": "/proc/none"}, "record_folder: /proc/none cannot be written"),
    ],
)
def test_bad_files(tmp_path, capsys, config, words):
    assert main(["agent", "--config", str(written(tmp_path, config))]) == 2
    assert words in capsys.readouterr().err


def test_owners_by_board_and_paths_beside_the_file(tmp_path):
    config = {"owners": {"a": ["GPU-0", "GPU-1"], "b": ["GPU-1"]}, "record_folder": "record"}
    section = load_agent(written(tmp_path, config))
    assert section.ownership() == {"GPU-0": frozenset("a"), "GPU-1": frozenset("ab")}
    assert section.record_folder == tmp_path / "record"
    assert section.listen.address == "127.0.0.1:9444"
