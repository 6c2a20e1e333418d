"""PowerCappingConfig documents from YAML, with every problem named at its field."""

from typing import Any

from pydantic import ValidationError

from capper.api.config import PowerCappingConfig


class InvalidConfigError(Exception):
    """A resource that cannot be used.

    Attributes:
        problems: One sentence each: field path, what is wrong or allowed.
    """

    def __init__(self, problems: list[str]) -> None:
        """Collect the sentences."""
        super().__init__("\n".join(problems))
        self.problems = problems


def parse(document: Any) -> PowerCappingConfig:
    """The resource in a document.

    Raises:
        InvalidConfigError: With all problems that were found.
    """
    try:
        return PowerCappingConfig.model_validate(document)
    except ValidationError as error:
        problems = [sentence for item in error.errors() for sentence in _sentences(item)]
        raise InvalidConfigError(problems) from error


def _sentences(error: Any) -> list[str]:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "rules":
        return [_sentence(place, field, message) for field, message in error["ctx"]["broken"]]
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] == "extra_forbidden":
        message = "is not a known field"
    elif error["type"] == "missing":
        message = "is required"
    elif error["type"] != "value_error" and not isinstance(error.get("input"), dict | list):
        message = f"{message}, got {error.get('input')!r}"
    return [_sentence(place, "", message)]


def _sentence(place: str, field: str, message: str) -> str:
    path = ".".join(part for part in (place, field) if part)
    return f"{path}: {message}." if path else f"{message}."
