"""Read-only calls on real boards, where there are any; nothing is set here."""

import json
import subprocess
import sys

import pytest

# In a process of its own: another test may have loaded its own NVML into this one.
READ = """
import dataclasses, json
from capper.clocks.nvml import Nvml, NvmlError
nvml = Nvml()
try:
    nvml.start()
except NvmlError as error:
    print(json.dumps(str(error)))
    raise SystemExit(3)
boards = [dataclasses.asdict(one) for one in nvml.boards()]
readings = [dataclasses.asdict(nvml.read(one["uuid"])) for one in boards]
nvml.stop()
print(json.dumps([boards, readings]))
"""


def test_boards_describe_themselves_within_their_own_limits():
    done = subprocess.run(
        [sys.executable, "-c", READ], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 3:
        pytest.skip(f"NO NVIDIA GPU, nothing was read: {json.loads(done.stdout)}")
    assert done.returncode == 0, done.stderr
    boards, readings = json.loads(done.stdout)
    assert boards
    for board, reading in zip(boards, readings, strict=True):
        assert board["uuid"].startswith("GPU-")
        clocks = board["clocks_hertz"]
        assert clocks == sorted(clocks)
        assert all(1e8 < clock < 5e9 for clock in clocks)
        if board["limit_watts"] is not None and board["min_limit_watts"] is not None:
            low, high = board["min_limit_watts"], board["max_limit_watts"]
            assert low <= board["limit_watts"] <= high
            assert board["limit_watts"] == pytest.approx(reading["limit_watts"])
        if reading["sm_hertz"] is not None and clocks:
            assert reading["sm_hertz"] <= clocks[-1] + 15.5e6
        assert reading["watts"] is None or 0.0 < reading["watts"] < 3000.0
