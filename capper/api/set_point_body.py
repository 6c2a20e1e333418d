"""The body of a set-point: JSON with names in the place of numbers. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"\$(\w+)")
NAMES = frozenset({"supplyCelsius", "airflowCubicMetersPerSecond", "validSeconds"})


def is_body(template: str) -> bool:
    """Whether it is JSON once its names are numbers, names the supply and no other names."""
    names = set(_NAME.findall(template))
    if "supplyCelsius" not in names or not names <= NAMES:
        return False
    try:
        filled(template, dict.fromkeys(NAMES, 1.0))
    except ValueError:
        return False
    return True


def filled(template: str, values: Mapping[str, float]) -> Any:
    """The JSON value of a template.

    Args:
        template: As declared.
        values: By name, without the dollar sign.

    Raises:
        ValueError: It is not JSON.
        KeyError: A name has no value.
    """
    return json.loads(_NAME.sub(lambda found: repr(round(values[found[1]], 3)), template))
