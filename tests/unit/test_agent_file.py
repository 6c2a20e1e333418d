"""The file of `headrace agent`: what is wrong is said with its field, exit code 2."""

import pytest
import yaml

from capper.clocks.nvml import Fault, Nvml, NvmlError
from headrace.agent import refuse_amd
from headrace.agent_file import load_agent
from headrace.config_errors import BadInputError
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


def test_amd_nodes_are_told_apart_from_nodes_whose_nvidia_driver_comes_later(tmp_path):
    nvml = NoNvml()
    refuse_amd(nvml, tmp_path / "kfd")
    (tmp_path / "kfd").mkdir()
    with pytest.raises(BadInputError, match="clocks of AMD GPUs are not set"):
        refuse_amd(nvml, tmp_path / "kfd")


class NoNvml(Nvml):
    """A machine without the library, whatever this one has."""

    def start(self):
        raise NvmlError(Fault.ABSENT, "NVML: nvmlInit: NVML or its driver is not there.")


def test_check_knows_the_file(tmp_path, capsys):
    path = written(tmp_path, {**OWNERS, "node": "n"})
    assert main(["check", str(path)]) == 0
    assert "an agent file: 1 boards declared" in capsys.readouterr().out
    assert main(["check", str(written(tmp_path, {"kubelet_socket": 7}))]) == 2
    assert "kubelet_socket" in capsys.readouterr().err


def test_owners_by_board_and_paths_beside_the_file(tmp_path):
    config = {"owners": {"a": ["GPU-0", "GPU-1"], "b": ["GPU-1"]}, "record_folder": "record"}
    section = load_agent(written(tmp_path, config))
    assert section.ownership() == {"GPU-0": frozenset("a"), "GPU-1": frozenset("ab")}
    assert section.record_folder == tmp_path / "record"
    assert section.listen.address == "127.0.0.1:9444"
