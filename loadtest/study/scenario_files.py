"""Finds and reads scenario files."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from loadtest.simulator.scenario import Scenario, ScenarioError, parse_scenario

FOLDER = Path(__file__).resolve().parents[1] / "scenarios"
"""The scenarios that are shipped."""


def shipped() -> tuple[str, ...]:
    """Names of the scenarios that are shipped."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_scenario(
    name_or_path: str, *, changes: Mapping[str, object] = MappingProxyType({})
) -> Scenario:
    """Read a shipped scenario by its name, or a file.

    A relative `trace_file` is looked for beside the scenario.

    Args:
        name_or_path: Which.
        changes: Fields that replace those of the file, and are checked with the others.

    Raises:
        ScenarioError: With every problem that was found.
    """
    path = FOLDER / f"{name_or_path}.yaml" if name_or_path in shipped() else Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ScenarioError(
            f"{path}: cannot be read: {reason}; shipped are {', '.join(shipped())}."
        ) from error
    scenario = parse_scenario(text, source=str(path), changes=changes)
    if scenario.trace_file is None:
        return scenario
    trace = path.parent / scenario.trace_file
    if not trace.is_file():
        raise ScenarioError(f"{path}: trace_file: there is no file {trace}.")
    return scenario.model_copy(update={"trace_file": str(trace)})
