"""Bad input as the user sees it: every problem at once, each with its file and field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

ModelT = TypeVar("ModelT", bound=pydantic.BaseModel)


class BadInputError(Exception):
    """What the user gave cannot be used; exit code 2.

    Attributes:
        problems: One sentence each, naming file, field and what is allowed.
    """

    def __init__(self, *problems: str) -> None:
        """Collect the sentences."""
        super().__init__("\n".join(problems))
        self.problems = problems


def load_yaml(path: Path) -> Any:
    """Read one YAML document.

    Raises:
        BadInputError: When the file cannot be read or is not one YAML document, with the line.
    """
    return _load(path, yaml.safe_load)


def load_documents(path: Path) -> list[Any]:
    """Read all YAML documents of a file, the empty ones left out.

    Raises:
        BadInputError: When the file cannot be read or is not YAML, with the line.
    """
    documents = _load(path, lambda text: list(yaml.safe_load_all(text)))
    return [document for document in documents if document is not None]


def _load(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInputError(f"{path}: cannot be read: {reason}.") from error
    try:
        return parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise BadInputError(f"{path}: is not valid YAML{where}: {what}.") from error


def load_model(path: Path, model: type[ModelT]) -> ModelT:
    """Read and validate a file.

    Raises:
        BadInputError: With every problem that was found in it.
    """
    return validated(load_yaml(path), model, where=str(path))


def validated(document: Any, model: type[ModelT], *, where: str) -> ModelT:
    """A document as a model; `where` begins each sentence.

    Raises:
        BadInputError: With every problem that was found in it.
    """
    try:
        return model.model_validate(document)
    except pydantic.ValidationError as error:
        problems = [f"{where}: {_sentence(item)}" for item in _root_causes(error.errors())]
        raise BadInputError(*problems) from error


def _root_causes(errors: Any) -> list[Any]:
    """Leave out "too short" of a list whose items were found wrong one by one."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(
            len(place) > len(error["loc"]) and place[: len(error["loc"])] == error["loc"]
            for place in places
        )
    ]


def _sentence(error: Any) -> str:
    """One problem as "field.path: what is wrong, got this"."""
    field = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] == "extra_forbidden":
        message = "is not a known field"
    elif error["type"] == "missing":
        message = "is required"
    elif not isinstance(error.get("input"), dict | list) and error["type"] != "value_error":
        message = f"{message}, got {error.get('input')!r}"
    return f"{field}: {message}." if field else f"{message}."
