"""Rules that hold between the fields of one object, said once for API server and offline check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        cel: The rule in CEL over `self`, for x-kubernetes-validations; None where the API server
            would have to work too hard for it: such a resource is stored and gets Ready=False.
        holds: The same rule for the model, used offline and for resources already stored.
        message: What is allowed, as a sentence without its full stop.
        field: The field it is reported at, as the user writes it; "" is the object itself.
    """

    cel: str | None
    holds: Callable[[Any], bool]
    message: str
    field: str = ""


class ApiModel(BaseModel):
    """Base of every object of the API: camelCase outside, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        broken = [(rule.field, rule.message) for rule in self.rules if not rule.holds(self)]
        if broken:
            text = "; ".join(f"{field}: {message}" for field, message in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self


def models_of(root: type[ApiModel]) -> Iterator[type[ApiModel]]:
    """The model and all that it is made of, each once, parents before children."""
    seen: set[type[ApiModel]] = set()
    waiting: list[type[ApiModel]] = [root]
    while waiting:
        model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            waiting += _models_in(field.annotation)


def _models_in(annotation: Any) -> list[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
