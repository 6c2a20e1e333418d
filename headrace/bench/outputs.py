"""What the commands of several benchmarks share: what they need, what they write and where."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from headrace.config_errors import BadInputError


def require_linux(args: argparse.Namespace) -> None:
    """Refuse to measure where the operating system does not tell it.

    Raises:
        BadInputError: When there is no /proc.
    """
    if sys.platform != "linux":
        raise BadInputError(f"bench {args.what}: needs Linux, for CPU times and memory from /proc.")


def require_folders(args: argparse.Namespace) -> None:
    """Refuse, before anything is measured, what could not be written.

    Raises:
        BadInputError: When the folder of the report or of the page is not there.
    """
    for path in (args.report, args.out):
        if path is not None and not path.parent.is_dir():
            raise BadInputError(f"{path}: there is no such folder.")


def write_report(console: Console, path: Path | None, report: Mapping[str, Any]) -> None:
    """Write the figures as JSON, if a file was asked for."""
    write(console, path, json.dumps(report, indent=2) + "\n")


def write(console: Console, path: Path | None, text: str) -> None:
    """Write a file, if it was asked for, and say so."""
    if path is not None:
        path.write_text(text, encoding="utf-8")
        console.print(f"written: {path}", markup=False, soft_wrap=True)


def machine() -> dict[str, Any]:
    """What a report says of the machine."""
    return {
        "cores": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def machine_words(known: Mapping[str, Any]) -> str:
    """What a page says of a machine."""
    return (
        f"{known['cores']} cores ({known['processor']}), "
        f"{known['memory_bytes'] / 2**30:.0f} GiB, Python {known['python']}"
    )
