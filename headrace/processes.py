"""What the operating system says of a process: CPU time and memory. Linux."""

import os
from pathlib import Path

_KIBIBYTE = 1024


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, which may hold blanks.

    Raises:
        OSError: When there is no such process.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def resident_bytes(pid: int) -> int:
    """Memory held now (VmRSS)."""
    return _status_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most memory held so far (VmHWM)."""
    return _status_bytes(pid, "VmHWM:")


def _status_bytes(pid: int, key: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(key))
    return int(line.split()[1]) * _KIBIBYTE
