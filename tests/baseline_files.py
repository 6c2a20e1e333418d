"""Counts that were looked at and found right, and how to compare new ones with them."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "baselines"
COMMAND = "python -m tests.baselines"
SCRIPTS = {"hot_path_counts": 60.0, "hot_path_instructions": 110.0}
"""What prints counts, as files beside this one, and the most seconds that it may take."""

EXACT, CLOSE, NEAR = 0.0, 0.05, 0.10
_TOLERANCES = {"messages": EXACT, "copies": CLOSE}
"""By the first word of a count's name; `NEAR` is for the others."""
_NEED_SYMBOLS = {"allocations"}
"""Not counted under a Python that was stripped of its symbols."""


def python_version():
    """Counts of calls and instructions are those of one minor version."""
    return ".".join(platform.python_version_tuple()[:2])


def measured(script):
    """The counts that a script prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / f"{script}.py")],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=SCRIPTS[script],
        check=False,
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stderr}"
    return json.loads(done.stdout)


def baseline(script):
    """The committed counts of a script, and the Python version that they are of."""
    document = json.loads(_file(script).read_text(encoding="utf-8"))
    return document["counts"], document["python"]


def write(script, counts):
    """Make these the baseline."""
    rounded = {name: float(f"{value:.4g}") for name, value in counts.items()}
    document = {"python": python_version(), "counts": rounded}
    _file(script).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def tolerance_ratio(name):
    """By how much of its baseline a count may be above it."""
    return _TOLERANCES.get(name.split()[0], NEAR)


def complaints(old, new):
    """A sentence for each count that has grown past its tolerance, or is on one side only."""
    said = [f"{name}: no baseline" for name in new.keys() - old.keys()]
    lost = {name for name in old.keys() - new.keys() if name.split()[0] not in _NEED_SYMBOLS}
    said += [f"{name}: no longer counted" for name in lost]
    for name in sorted(old.keys() & new.keys()):
        tolerance = tolerance_ratio(name)
        if new[name] > old[name] * (1 + tolerance):
            said.append(f"{name}: was {old[name]:g}, is {new[name]:g}, may be {tolerance:.0%} more")
    return sorted(said)


def require_no_growth(script):
    """Compare a script's counts with its baseline.

    Raises:
        AssertionError: With every complaint, and what to do where the growth is meant.
    """
    old, _ = baseline(script)
    said = complaints(old, measured(script))
    assert not said, "\n".join(
        [*said, f"If that is meant, say why in the change and run `{COMMAND}`."]
    )


def _file(script):
    return FOLDER / f"{script}.json"


def _environment():
    """Ours without what would have the process watched, which costs memory and calls too."""
    watched = ("COV", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(watched)}
    return {**kept, "PYTHONHASHSEED": "0"}
