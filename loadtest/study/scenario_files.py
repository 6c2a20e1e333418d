"""Finds and reads scenario files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import yaml

from loadtest.simulator.scenario import Scenario, ScenarioError, parse_scenario
from loadtest.study.slices import data_folder

FOLDER = Path(__file__).resolve().parents[1] / "scenarios"
"""The scenarios that are shipped."""


def shipped() -> tuple[str, ...]:
    """Names of the scenarios that are shipped."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_scenario(
    name_or_path: str, *, changes: Mapping[str, object] = MappingProxyType({})
) -> Scenario:
    """Read a shipped scenario by its name, or a file.

    A relative `trace_file` or `curve_file` is looked for beside the scenario, the file of `carbon`
    there and then in the folder of public data.

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
    try:
        scenario = parse_scenario(text, source=str(path), changes=changes)
        scenario = _with_carbon(scenario, path)
        return _with_trace(scenario, path)
    except ScenarioError as error:
        told = {field: line for field, line in _lines(text) if field.split(".")[0] not in changes}
        raise ScenarioError(*(_located(one, str(path), told) for one in error.problems)) from error


def _with_trace(scenario: Scenario, path: Path) -> Scenario:
    """The scenario with its trace's file, or its curve's, found."""
    found = {}
    for field in ("trace_file", "curve_file"):
        name = getattr(scenario, field)
        if name is None:
            continue
        found[field] = str(path.parent / name)
        if not Path(found[field]).is_file():
            raise ScenarioError(f"{path}: {field}: there is no file {found[field]}.")
    return scenario.model_copy(update=found)


def _located(problem: str, source: str, lines: Mapping[str, int]) -> str:
    """The sentence with the line of the field that it names, or of what the field is in."""
    field = problem.removeprefix(f"{source}: ").partition(":")[0]
    while field not in lines and "." in field:
        field = field.rpartition(".")[0]
    if field not in lines:
        return problem
    return problem.replace(f"{source}: ", f"{source}:{lines[field]}: ", 1)


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Dotted field -> line, from 1, of a document that may be anything."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return
    waiting: list[tuple[str, yaml.Node | None]] = [("", node)]
    while waiting:
        name, node = waiting.pop()
        children: list[tuple[str, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            children = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(str(index), item, item) for index, item in enumerate(node.value)]
        for field, place, value in children:
            path = f"{name}.{field}" if name else field
            yield path, place.start_mark.line + 1
            waiting.append((path, value))


def _with_carbon(scenario: Scenario, path: Path) -> Scenario:
    """The same with the whole path of its carbon series, which need not be there yet."""
    if scenario.carbon is None:
        return scenario
    beside = path.parent / scenario.carbon.file
    file = beside if beside.is_file() else data_folder() / "carbon" / scenario.carbon.file
    carbon = scenario.carbon.model_copy(update={"file": str(file)})
    return scenario.model_copy(update={"carbon": carbon})
