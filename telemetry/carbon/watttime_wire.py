"""Answers of WattTime v3: marginals in lbs CO2/MWh, converted to g/kWh. Pure.

https://docs.watttime.org: `/v3/forecast` and `/v3/historical` have one form, points of five
minutes, and say their region and unit in `meta`.
"""

from dataclasses import replace
from typing import Annotated, Any

import msgspec

from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.json_answer import answered_time, decoded
from telemetry.carbon.published import Published
from telemetry.carbon.slots import Point, overlaid, slots_of

SOURCE = "WattTime"
GRAMS_PER_KILOWATT_HOUR = 0.45359237
"""One lb/MWh: a pound is 453.59237 g and a MWh 1000 kWh."""
HOLD_SECONDS = 1800.0
"""How long the newest measured figure is held where no forecast follows."""
_UNIT = "lbs_co2_per_mwh"
_SIGNAL = "co2_moer"


class _Meta(msgspec.Struct):
    region: str
    units: str
    signal_type: str = _SIGNAL
    data_point_period_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 300.0


class _Row(msgspec.Struct):
    point_time: str
    value: Any


class _Answer(msgspec.Struct):
    meta: _Meta
    data: list[_Row]


class _Login(msgspec.Struct):
    token: str


def parse_login(body: bytes) -> str:
    """The bearer token.

    Raises:
        FeedError: There is none.
    """
    token = decoded(body, _Login, SOURCE).token
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise FeedError(FeedFailure.MALFORMED, f"{SOURCE}: the login gave no usable token.")
    return token


def parse_points(
    body: bytes, *, region: str, estimated: bool, now_epoch_seconds: float
) -> Published:
    """Slots of a historical (`estimated` False) or forecast answer.

    Raises:
        FeedError: Nothing usable, another region, signal or unit.
    """
    answer = decoded(body, _Answer, SOURCE)
    meta = answer.meta
    if meta.region != region:
        raise FeedError(
            FeedFailure.WRONG_ZONE,
            f"{SOURCE} answered for region {meta.region!r}, region {region!r} was asked for.",
        )
    if (meta.units, meta.signal_type) != (_UNIT, _SIGNAL):
        raise FeedError(
            FeedFailure.MALFORMED,
            f"{SOURCE} answered with {meta.signal_type} in {meta.units}, "
            f"{_SIGNAL} in {_UNIT} was asked for.",
        )
    points = [
        Point(
            start_epoch_seconds=answered_time(row.point_time, SOURCE),
            grams_per_kilowatt_hour=_grams(row.value),
            estimated=estimated,
        )
        for row in answer.data
    ]
    slots, refused = slots_of(points, source=SOURCE, step_seconds=meta.data_point_period_seconds)
    return Published(slots=slots, fetched_epoch_seconds=now_epoch_seconds, refused=refused)


def combined(measured: Published | None, forecast: Published | None) -> Published:
    """Measured figures, then the forecast, then the newest measured one held a while.

    Raises:
        ValueError: Both are missing.
    """
    if measured is None:
        if forecast is None:
            raise ValueError("neither measured nor forecast figures are given")
        return forecast
    last = measured.slots[-1]
    held = replace(last, end_epoch_seconds=last.start_epoch_seconds + HOLD_SECONDS, estimated=True)
    ahead = () if forecast is None else forecast.slots
    return replace(
        measured,
        slots=overlaid(overlaid(measured.slots, ahead), (held,)),
        refused=measured.refused + (0 if forecast is None else forecast.refused),
    )


def _grams(value: Any) -> object:
    """Pounds per MWh to grams per kWh; what is no number stays as it is, to be refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return value * GRAMS_PER_KILOWATT_HOUR
    except OverflowError:  # JSON's integers have no bound
        return value
