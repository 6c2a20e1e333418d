"""Answers of the UK Carbon Intensity API, national and regional: averages in gCO2/kWh. Pure.

https://carbon-intensity.github.io/api-definitions: half hours; `actual` is null in the future and
absent from regional answers; regional rows lie one level deeper.
"""

from typing import Any

import msgspec

from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.json_answer import answered_time, decoded
from telemetry.carbon.published import Published
from telemetry.carbon.slots import Point, slots_of

SOURCE = "UK Carbon Intensity"
REGIONS = range(1, 18)
_STEP_SECONDS = 1800.0


class _Intensity(msgspec.Struct):
    forecast: Any = None
    actual: Any = None


class _Row(msgspec.Struct):
    begin: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    intensity: _Intensity


class _National(msgspec.Struct):
    data: list[_Row]


class _Region(msgspec.Struct):
    regionid: int
    data: list[_Row]


class _Regional(msgspec.Struct):
    data: _Region


def parse_national(body: bytes, *, now_epoch_seconds: float) -> Published:
    """Half hours of the whole of Great Britain; the measured figure where there is one.

    Raises:
        FeedError: There is nothing usable in it.
    """
    return _published(decoded(body, _National, SOURCE).data, now_epoch_seconds)


def parse_regional(body: bytes, *, region: int, now_epoch_seconds: float) -> Published:
    """Half hours of one region; all of them are forecasts.

    Raises:
        FeedError: There is nothing usable in it, or it is of another region.
    """
    answer = decoded(body, _Regional, SOURCE).data
    if answer.regionid != region:
        raise FeedError(
            FeedFailure.WRONG_ZONE,
            f"{SOURCE} answered for region {answer.regionid}, region {region} was asked for.",
        )
    return _published(answer.data, now_epoch_seconds)


def _published(rows: list[_Row], now_epoch_seconds: float) -> Published:
    slots, refused = slots_of(
        (_point(row) for row in rows), source=SOURCE, step_seconds=_STEP_SECONDS
    )
    return Published(slots=slots, fetched_epoch_seconds=now_epoch_seconds, refused=refused)


def _point(row: _Row) -> Point:
    measured = row.intensity.actual is not None
    return Point(
        start_epoch_seconds=answered_time(row.begin, SOURCE),
        end_epoch_seconds=answered_time(row.end, SOURCE),
        grams_per_kilowatt_hour=row.intensity.actual if measured else row.intensity.forecast,
        estimated=not measured,
    )
