"""The real NVML binding on a small NVML library, compiled here, whose boards are text files.

pynvml asks the loader for `libnvidia-ml.so.1`. A child process finds this one by LD_LIBRARY_PATH,
which is read when a process starts; this process by having loaded it: its soname is the same.
"""

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "nvml" / "fake_nvml.c"
BOARD = {
    "present": 1,
    "mig": 0,
    "sm_mhz": 1980,
    "limit_mw": 650_000,
    "min_mw": 200_000,
    "max_mw": 700_000,
    "lock_mhz": 0,
    "draw_mw": 400_000,
    "energy_mj": 5_000_000,
}
PERMISSION, NOT_SUPPORTED, UNKNOWN = 4, 3, 999


@cache
def compiler():
    return shutil.which("cc") or shutil.which("gcc")


def build(folder):
    """The library under its real name in `folder`; skips, loudly, where there is no compiler."""
    if compiler() is None:
        pytest.skip("NO C COMPILER (cc or gcc): the NVML binding is not tested on this machine")
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        flags = ["-shared", "-fPIC", "-Wall", "-Werror", "-O1", f"-Wl,-soname,{library.name}"]
        subprocess.run([compiler(), *flags, "-o", str(library), str(SOURCE)], check=True)
    return library


def load(folder):
    """Build it and let this process' pynvml find it."""
    ctypes.CDLL(str(build(folder)))


@dataclass(frozen=True)
class FakeBoards:
    """The boards of one machine, in files."""

    folder: Path

    def make(self, count=1, **fields):
        self.folder.mkdir(exist_ok=True)
        self.driver(1)
        for index in range(count):
            self.set(index, **{**BOARD, **fields})
        return self

    def set(self, index, **fields):
        path = self.folder / f"board-{index}"
        known = self.of(index) if path.exists() else {}
        self._write(path, {**known, **fields})

    def of(self, index):
        lines = (self.folder / f"board-{index}").read_text().splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def settings(self, index=0):
        """(MHz of the lock, 0 for none; W of the limit)."""
        board = self.of(index)
        return board["lock_mhz"], board["limit_mw"] / 1000

    def fail(self, **codes):
        self._write(self.folder / "errors", codes)

    def ignore(self, *names):
        self._write(self.folder / "ignores", dict.fromkeys(names, 1))

    def xid(self, index, number):
        with (self.folder / "xids").open("a") as file:
            file.write(f"{index} {number}\n")

    def driver(self, generation):
        self._write(self.folder / "driver", {"generation": generation})

    def reload_driver(self, generation):
        """Take the driver away and back: locks and limits are gone, calls fail until nvmlInit."""
        for path in self.folder.glob("board-?"):
            index = int(path.name[-1])
            self.set(index, lock_mhz=0, limit_mw=self.of(index)["max_mw"])
        self.driver(generation)

    def environment(self, library):
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(library.parent),
            "HEADRACE_FAKE_NVML": str(self.folder),
        }

    @staticmethod
    def _write(path, fields):
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{name} {value}\n" for name, value in fields.items()))
        partial.replace(path)
