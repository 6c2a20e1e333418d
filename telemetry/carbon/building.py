"""From a declared provider to a feed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import aiocache

from telemetry.carbon.failures import FeedSettingsError
from telemetry.carbon.feed import CachedFeed, CarbonFeed
from telemetry.carbon.local_feeds import CsvProvider, StaticFeed
from telemetry.carbon.providers import (
    ELECTRICITY_MAPS_URL,
    UK_URL,
    ElectricityMaps,
    Provider,
    UkCarbonIntensity,
)
from telemetry.carbon.slots import IntensityKind
from telemetry.carbon.watttime import WATTTIME_URL, WattTime

_Value = TypeVar("_Value")
ProviderType = Literal["UKCarbonIntensity", "ElectricityMaps", "WattTime", "Static", "CSV"]
TOKEN_VARIABLE = "HEADRACE_ELECTRICITY_MAPS_TOKEN"  # noqa: S105 - a name, not a token
LOGIN_VARIABLE = "HEADRACE_WATTTIME_LOGIN"
SHORTEST_REFRESH_SECONDS = 60.0
"""The figures change every 5 to 60 min; asking more often only uses up a quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """A provider as declared; the fields of a policy's `carbon.provider`.

    Attributes:
        type: Which.
        zone: Zone, region or region id; None is the whole of GB with UKCarbonIntensity.
        grams_per_kilowatt_hour: Of Static.
        path: Of CSV.
        kind: Of Static and CSV; the others have their own.
        refresh_seconds: How often the provider is asked, at least 60.
        base_url: Root of the API; None: the public one.
        credential: Token, or `user:password` of WattTime; None: taken from the environment.
        timeout_seconds: For one question.
    """

    type: ProviderType
    zone: str | None = None
    grams_per_kilowatt_hour: float | None = None
    path: str | None = None
    kind: IntensityKind = IntensityKind.AVERAGE
    refresh_seconds: float = 1800.0
    base_url: str | None = None
    credential: str | None = field(default=None, repr=False)
    timeout_seconds: float = 10.0


def feed_of(
    settings: FeedSettings,
    *,
    environ: Mapping[str, str],
    cache: aiocache.BaseCache | None = None,
) -> CarbonFeed:
    """A feed that has asked nothing yet.

    Args:
        settings: What to make.
        environ: Where keys are looked up that `settings` lacks; for the public API only, so that
            nobody can have them sent to a `base_url` of theirs.
        cache: Shared with other feeds; own memory when None.

    Raises:
        FeedSettingsError: One sentence on what is missing or not allowed.
    """
    if settings.type == "Static":
        return StaticFeed(
            _needed(settings.grams_per_kilowatt_hour, "gramsPerKilowattHour", settings),
            kind=settings.kind,
        )
    if not settings.refresh_seconds >= SHORTEST_REFRESH_SECONDS:
        raise FeedSettingsError(
            f"refreshSeconds: {settings.refresh_seconds:g} is too often, "
            f"at least {SHORTEST_REFRESH_SECONDS:g} are asked for."
        )
    return CachedFeed(
        _provider(settings, environ),
        # The kind too: what one feed took for averages, another must not read as marginals.
        key=f"{settings.type} {settings.base_url} {settings.zone} {settings.path} {settings.kind}",
        refresh_seconds=settings.refresh_seconds,
        cache=cache,
    )


def _provider(settings: FeedSettings, environ: Mapping[str, str]) -> Provider:
    timeout = settings.timeout_seconds
    if settings.type == "UKCarbonIntensity":
        return UkCarbonIntensity(
            region=_region(settings.zone),
            base_url=settings.base_url or UK_URL,
            timeout_seconds=timeout,
        )
    if settings.type == "ElectricityMaps":
        return ElectricityMaps(
            zone=_needed(settings.zone, "zone", settings),
            token=_credential(settings, environ, TOKEN_VARIABLE),
            base_url=settings.base_url or ELECTRICITY_MAPS_URL,
            timeout_seconds=timeout,
        )
    if settings.type == "WattTime":
        user, colon, password = _credential(settings, environ, LOGIN_VARIABLE).partition(":")
        if not (user and colon and password):
            raise FeedSettingsError("The WattTime login must have the form user:password.")
        return WattTime(
            region=_needed(settings.zone, "zone", settings),
            user=user,
            password=password,
            base_url=settings.base_url or WATTTIME_URL,
            timeout_seconds=timeout,
        )
    path = _needed(settings.path, "path", settings)
    return CsvProvider(Path(path), kind=settings.kind)


def _needed(value: _Value | None, name: str, settings: FeedSettings) -> _Value:
    if value is None or value == "":
        raise FeedSettingsError(f"{name}: type {settings.type} needs it.")
    return value


def _credential(settings: FeedSettings, environ: Mapping[str, str], variable: str) -> str:
    """The given credential, else that of the environment; its text is in no message."""
    text = settings.credential
    if text is None:
        text = environ.get(variable, "") if settings.base_url is None else ""
    text = text.strip()
    if not text:
        raise FeedSettingsError(
            f"type {settings.type} needs a credential, from its Secret or from {variable}."
        )
    if not text.isprintable() or not text.isascii():
        raise FeedSettingsError(
            f"The credential of {settings.type} has characters that no header can carry."
        )
    return text


def _region(zone: str | None) -> int | None:
    if zone is None:
        return None
    if not (zone.isdecimal() and zone.isascii() and len(zone) < 3):  # noqa: PLR2004 - ids end at 17
        raise FeedSettingsError(
            f"zone: {zone!r} is no region id of UK Carbon Intensity, allowed are 1 to 17."
        )
    return int(zone)
