"""Scenarios: what is simulated, as files say it. Pure; `loadtest.study` reads the files.

A scenario is one or more points (an offered load, and what goes wrong meanwhile) that every arm
meets with the same arrivals.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pydantic
import yaml

from loadtest.simulator.compression import compressed
from loadtest.simulator.scenario_checks import TRACES, impossible
from loadtest.simulator.scenario_model import (
    DEFAULT_ARMS,
    NUMBER_OF_RACKS,
    RACKS_WITH_AIR,
    Point,
    Scenario,
)

__all__ = ["DEFAULT_ARMS", "TRACES", "Point", "Scenario", "ScenarioError", "parse_scenario"]


class ScenarioError(ValueError):
    """A scenario that cannot be used.

    Attributes:
        problems: One sentence each, naming file, field and what is allowed.
    """

    def __init__(self, *problems: str) -> None:
        """Collect the sentences."""
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_scenario(
    text: str, *, source: str, changes: Mapping[str, object] = MappingProxyType({})
) -> Scenario:
    """Read a scenario.

    Args:
        text: YAML.
        source: What messages call it, normally the file.
        changes: Fields that replace those of the text, and are checked with the others.

    Raises:
        ScenarioError: With every problem that was found.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise ScenarioError(f"{source}: is not valid YAML{where}: {what}.") from error
    try:
        scenario = Scenario.model_validate(
            document | dict(changes) if isinstance(document, dict) else document
        )
        problems = list(impossible(scenario))
    except pydantic.ValidationError as error:
        problems = list(_sentences(error.errors()))
        # Pydantic's own message would repeat all of it in its words.
        raise ScenarioError(*(f"{source}: {one}" for one in problems)) from None
    if problems:
        raise ScenarioError(*(f"{source}: {problem}" for problem in problems))
    return compressed(scenario.controlled())


def _sentences(errors: list[Any]) -> Iterator[str]:
    """All problems, but not that a list is too short whose items were found wrong one by one."""
    fields = {error["loc"][:1] for error in errors if error["type"] != "too_short"}
    for error in errors:
        if error["type"] != "too_short" or error["loc"][:1] not in fields:
            yield _sentence(error)


def _sentence(error: Any) -> str:
    """One problem as "field.path: what is wrong, got this"."""
    parts = (str(part) for part in error["loc"] if part not in (NUMBER_OF_RACKS, RACKS_WITH_AIR))
    field = ".".join(parts)
    message = error["msg"][:1].lower() + error["msg"][1:]
    if error["type"] == "extra_forbidden":
        message = "is not a known field"
    elif error["type"] == "missing":
        message = "is required"
    elif error["type"] == "too_short":
        message = "must not be empty"
    elif not isinstance(error.get("input"), dict | list):
        message = f"{message}, got {error.get('input')!r}"
    return f"{field}: {message}." if field else f"{message}."
