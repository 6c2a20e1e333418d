"""Which code made the figures."""

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("capper", "fleet", "loadtest", "router", "telemetry")


@cache
def code_sha256() -> str:
    """Of all that decides and simulates: sources and parameter files, names and contents."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*")):
            if path.suffix in {".json", ".py"}:
                digest.update(path.relative_to(_ROOT).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
