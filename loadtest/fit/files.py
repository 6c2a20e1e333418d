"""The form of the parameter files: deterministic text, and what differs between two of them. Pure.

Keys are sorted and numbers rounded to five significant digits, so that the same data give the same
bytes wherever numpy and scipy agree that far; `differences` forgives what they do not.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

_DIGITS = 5

# A refit by another numpy may differ that much in a parameter, and so much in an error.
_RELATIVE_TOLERANCE = 1e-2
_ERROR_TOLERANCE = 2e-3
_ERRORS = ".errors."

# Points, which take one line and not four.
_PAIR = re.compile(r"\[\s+([-+.e\d]+),\s+([-+.e\d]+)\s+\]")


def render(content: msgspec.Struct) -> str:
    """The file's text."""
    text = json.dumps(_rounded(msgspec.to_builtins(content)), indent=1, sort_keys=True)
    return _PAIR.sub(r"[\1, \2]", text) + "\n"


def differences(committed: Any, refitted: Any, path: str = "") -> Iterator[str]:
    """Where two decoded files differ beyond the tolerance, one sentence each."""
    if isinstance(committed, dict) and isinstance(refitted, dict):
        for key in sorted(committed.keys() | refitted.keys()):
            inner = f"{path}.{key}" if path else key
            if key not in committed or key not in refitted:
                yield f"{inner}: only in the {'refit' if key in refitted else 'file'}"
            else:
                yield from differences(committed[key], refitted[key], inner)
    elif isinstance(committed, list) and isinstance(refitted, list):
        if len(committed) != len(refitted):
            yield f"{path}: {len(committed)} entries, refitted {len(refitted)}"
        else:
            for index, pair in enumerate(zip(committed, refitted, strict=True)):
                yield from differences(*pair, f"{path}[{index}]")
    elif not _agree(committed, refitted, path):
        yield f"{path}: {committed!r}, refitted {refitted!r}"


def _agree(committed: Any, refitted: Any, path: str) -> bool:
    if not (_is_number(committed) and _is_number(refitted)):
        return bool(committed == refitted)
    slack = _ERROR_TOLERANCE if _ERRORS in path else 0.0
    return math.isclose(committed, refitted, rel_tol=_RELATIVE_TOLERANCE, abs_tol=slack)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return value
