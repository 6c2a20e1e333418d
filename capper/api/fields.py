"""Types of single fields: their unit is in the field's name, their range is here."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

MAX_ITEMS = 256
"""Bound of every list: the API server prices CEL rules by it."""

_POWER = re.compile(r"^(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kM]?W)?$")
_WATTS = {None: 1.0, "W": 1.0, "kW": 1e3, "MW": 1e6}
_POWER_PATTERN = r"^\d+(\.\d+)?\s*([kM]?W)?$"
_NUMBER_PATTERN = r"^-?\d+(\.\d+)?$"


def _watts(value: Any) -> Any:
    """A number of watts, or a string such as "750W", "12.5kW" or "1.2MW", in watts."""
    if not isinstance(value, str):
        return value
    match = _POWER.match(value.strip())
    if match is None:
        raise ValueError(f'"{value}" is not a power such as 9000, "750W", "12.5kW" or "1.2MW"')
    return float(match["number"]) * _WATTS[match["unit"]]


def _number(value: Any) -> Any:
    """A number, also when it is written as text, as KEDA's triggers do."""
    if not isinstance(value, str):
        return value
    if re.match(_NUMBER_PATTERN, value.strip()) is None:
        raise ValueError(f'"{value}" is not a number')
    return float(value)


def _int_or_string(pattern: str, *, minimum: int | None = None) -> WithJsonSchema:
    """The API server's own union: an integer, or text (which is how fractions are written)."""
    schema: dict[str, Any] = {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": pattern,
    }
    if minimum is not None:
        schema["minimum"] = minimum
    return WithJsonSchema(schema)


Power = Annotated[
    float, BeforeValidator(_watts), Field(gt=0), _int_or_string(_POWER_PATTERN, minimum=1)
]
"""Watts as an integer, or text with a unit: the original fields `powerCapLimit` and `maxPower`."""

Number = Annotated[float, BeforeValidator(_number), _int_or_string(_NUMBER_PATTERN)]
"""A plain number, or the same as text."""

Watts = Annotated[float, Field(ge=0)]
PositiveWatts = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
"""Not percent: 0.8 is 80 %."""
PositiveRatio = Annotated[float, Field(gt=0, le=1.5)]
Seconds = Annotated[float, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Celsius = Annotated[float, Field(ge=-20, le=90)]
MegaHertz = Annotated[int, Field(ge=100, le=5000)]
Replicas = Annotated[int, Field(ge=0, le=100_000)]
Count = Annotated[int, Field(ge=1, le=1000)]
GramsPerKilowattHour = Annotated[float, Field(ge=0, le=5000)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]

Name = Annotated[str, Field(min_length=1, max_length=253)]
"""A name of a Kubernetes object."""
ShortText = Annotated[str, Field(min_length=1, max_length=63)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Query = Annotated[str, Field(min_length=1, max_length=8192)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2048)]
