"""The committed parameter files of the simulated hardware, and how to read them.

`headrace fit` writes them (`loadtest.fit`), `loadtest.truth` reads them; `schema` says what is in
them. No file but these is read, and each once per process.
"""

from functools import cache
from importlib.resources import files

import msgspec

from loadtest.models.schema import AcceleratorFile, ClockFile

ACCELERATORS = ("A100", "H100", "H200", "B200", "L40S")
"""Accelerators that have a file."""

CLOCKS = "clocks.json"
"""Name of the file with the clock response."""


def file_name(accelerator: str) -> str:
    """Name of an accelerator's file in this folder."""
    return f"{accelerator.lower()}.json"


@cache
def accelerator_file(accelerator: str) -> AcceleratorFile:
    """The committed parameters of one of ACCELERATORS."""
    return msgspec.json.decode(_read(file_name(accelerator)), type=AcceleratorFile)


@cache
def clock_file() -> ClockFile:
    """The committed clock response."""
    return msgspec.json.decode(_read(CLOCKS), type=ClockFile)


def _read(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
