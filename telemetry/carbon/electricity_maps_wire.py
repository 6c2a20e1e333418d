"""Answers of Electricity Maps v3: averages in gCO2eq/kWh. Pure.

https://docs.electricitymaps.com: `latest` is one point, `forecast` a list of them; a point holds
for its hour.
"""

from dataclasses import replace
from typing import Any

import msgspec

from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.json_answer import answered_time, decoded
from telemetry.carbon.published import Published
from telemetry.carbon.slots import Point, overlaid, slots_of

SOURCE = "Electricity Maps"
HOUR_SECONDS = 3600.0
HOLD_SECONDS = 7200.0
"""How long the latest figure is held where no forecast follows: the next may be an hour late."""


class _Latest(msgspec.Struct, rename="camel"):
    zone: str
    carbon_intensity: Any
    datetime: str
    updated_at: str | None = None
    is_estimated: bool | None = None


class _ForecastPoint(msgspec.Struct, rename="camel"):
    carbon_intensity: Any
    datetime: str


class _Forecast(msgspec.Struct, rename="camel"):
    zone: str
    forecast: list[_ForecastPoint]
    updated_at: str | None = None


def parse_latest(body: bytes, *, zone: str, now_epoch_seconds: float) -> Published:
    """The latest figure, for its hour.

    Raises:
        FeedError: It is unusable, or of another zone.
    """
    answer = decoded(body, _Latest, SOURCE)
    _check_zone(answer.zone, zone)
    point = Point(
        start_epoch_seconds=answered_time(answer.datetime, SOURCE),
        grams_per_kilowatt_hour=answer.carbon_intensity,
        estimated=answer.is_estimated is not False,
    )
    return _published([point], answer.updated_at, now_epoch_seconds)


def parse_forecast(body: bytes, *, zone: str, now_epoch_seconds: float) -> Published:
    """The forecast, each point until the next.

    Raises:
        FeedError: There is nothing usable in it, or it is of another zone.
    """
    answer = decoded(body, _Forecast, SOURCE)
    _check_zone(answer.zone, zone)
    points = [
        Point(
            start_epoch_seconds=answered_time(point.datetime, SOURCE),
            grams_per_kilowatt_hour=point.carbon_intensity,
            estimated=True,
        )
        for point in answer.forecast
    ]
    return _published(points, answer.updated_at, now_epoch_seconds)


def combined(latest: Published, forecast: Published | None) -> Published:
    """The latest figure for its hour, then the forecast; the figure held where that is silent."""
    last = latest.slots[-1]
    held = replace(last, end_epoch_seconds=last.start_epoch_seconds + HOLD_SECONDS, estimated=True)
    ahead = () if forecast is None else forecast.slots
    return replace(
        latest,
        slots=overlaid(overlaid(latest.slots, ahead), (held,)),
        refused=latest.refused + (0 if forecast is None else forecast.refused),
    )


def _published(points: list[Point], updated_at: str | None, now_epoch_seconds: float) -> Published:
    slots, refused = slots_of(points, source=SOURCE, step_seconds=HOUR_SECONDS)
    return Published(
        slots=slots,
        fetched_epoch_seconds=now_epoch_seconds,
        published_epoch_seconds=None if updated_at is None else answered_time(updated_at, SOURCE),
        refused=refused,
    )


def _check_zone(answered: str, asked: str) -> None:
    if answered != asked:
        raise FeedError(
            FeedFailure.WRONG_ZONE,
            f"{SOURCE} answered for zone {answered!r}, zone {asked!r} was asked for.",
        )
