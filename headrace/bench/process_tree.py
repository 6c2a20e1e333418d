"""CPU time and memory of processes with all their children. Linux."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.processes import peak_bytes, stat_fields

_PROC = Path("/proc")
# Of `stat_fields`: parent; own user and system time, and those of children that have ended.
_PARENT, _TIMES = 1, slice(11, 15)


def members(roots: Iterable[int]) -> list[int]:
    """The roots and all their descendants that live."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
    found = list(roots)
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def tree_cpu_seconds(roots: Sequence[int]) -> float:
    """User and system time so far, of children that have ended too.

    Raises:
        ProcessLookupError: When a root has ended.
    """
    _require(roots)
    ticks = sum(int(it) for pid in members(roots) for it in _stat(pid)[_TIMES])
    return ticks / os.sysconf("SC_CLK_TCK")


def tree_peak_bytes(roots: Sequence[int]) -> int:
    """The sum of the most memory that each has held: what they share is counted more than once.

    Raises:
        ProcessLookupError: When a root has ended.
    """
    _require(roots)
    return sum(_peak_bytes(pid) for pid in members(roots))


def _require(roots: Sequence[int]) -> None:
    for pid in roots:
        if _stat(pid)[:1] in ([], ["Z"]):
            raise ProcessLookupError(f"process {pid} has ended")


def _peak_bytes(pid: int) -> int:
    try:
        return peak_bytes(pid)
    except (OSError, StopIteration):  # it has ended since; what has ended holds nothing
        return 0


def _stat(pid: int) -> list[str]:
    """Its fields; none when it has ended."""
    try:
        return stat_fields(pid)
    except OSError:
        return []
