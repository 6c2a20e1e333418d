"""UK Carbon Intensity and Electricity Maps: which questions make one answer."""

from dataclasses import replace
from typing import Protocol

from telemetry.carbon import electricity_maps_wire as maps
from telemetry.carbon import uk_wire as uk
from telemetry.carbon.calendar_times import minute_text
from telemetry.carbon.client import CarbonClient
from telemetry.carbon.failures import FeedError, FeedFailure, FeedSettingsError
from telemetry.carbon.published import Published
from telemetry.carbon.slots import IntensityKind

UK_URL = "https://api.carbonintensity.org.uk"
ELECTRICITY_MAPS_URL = "https://api.electricitymaps.com/v3"
PLAN_REFUSALS = frozenset({FeedFailure.UNAUTHORIZED, FeedFailure.FORBIDDEN, FeedFailure.WRONG_ZONE})
"""A part of an API that a plan does not include is answered with any of these."""
PLAN_SECONDS = 86_400.0
"""What a plan refused is asked again after a day: plans change rarely."""


class Provider(Protocol):
    """Where figures come from, without memory of them.

    Attributes:
        source: Name in messages.
        kind: Of all its figures.
    """

    source: str
    kind: IntensityKind

    async def fetch(self, *, now_epoch_seconds: float) -> Published:
        """What is published now.

        Raises:
            FeedError: Nothing usable.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...


class UkCarbonIntensity:
    """Great Britain or one of its regions, 48 h ahead, without a key."""

    source = uk.SOURCE
    kind = IntensityKind.AVERAGE

    def __init__(
        self, *, region: int | None = None, base_url: str = UK_URL, timeout_seconds: float = 10.0
    ) -> None:
        """Ask about `region` (1 to 17), or the whole of Great Britain when None.

        Raises:
            FeedSettingsError: There is no such region.
        """
        if region is not None and region not in uk.REGIONS:
            raise FeedSettingsError(
                f"zone: {region} is no region id of {uk.SOURCE}, allowed are 1 to 17."
            )
        self._region = region
        self._client = CarbonClient(base_url, source=self.source, timeout_seconds=timeout_seconds)

    async def fetch(self, *, now_epoch_seconds: float) -> Published:
        """Present half hour and 48 h from it, one question."""
        now = now_epoch_seconds
        begin = minute_text(now)
        if self._region is None:
            body = await self._client.get(f"/intensity/{begin}/fw48h", now_epoch_seconds=now)
            return uk.parse_national(body, now_epoch_seconds=now)
        path = f"/regional/intensity/{begin}/fw48h/regionid/{self._region}"
        body = await self._client.get(path, now_epoch_seconds=now)
        return uk.parse_regional(body, region=self._region, now_epoch_seconds=now)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class ElectricityMaps:
    """One zone: the latest figure, and the forecast where the plan has it."""

    source = maps.SOURCE
    kind = IntensityKind.AVERAGE

    def __init__(
        self,
        *,
        zone: str,
        token: str,
        base_url: str = ELECTRICITY_MAPS_URL,
        horizon_hours: int = 24,
        timeout_seconds: float = 10.0,
    ) -> None:
        """Ask about `zone` (as "DE" or "US-CAL-CISO"), `horizon_hours` (6, 24, 48, 72) ahead."""
        self._zone = zone
        self._headers = {"auth-token": token}
        self._horizon = str(horizon_hours)
        self._client = CarbonClient(
            base_url, source=self.source, timeout_seconds=timeout_seconds, secrets=(token,)
        )
        self._plan_refused: tuple[float, str] | None = None

    async def fetch(self, *, now_epoch_seconds: float) -> Published:
        """Latest and forecast; a forecast that fails costs only itself."""
        now = now_epoch_seconds
        body = await self._get("latest", {"zone": self._zone}, now)
        latest = maps.parse_latest(body, zone=self._zone, now_epoch_seconds=now)
        if self._plan_refused is not None and 0.0 <= now - self._plan_refused[0] < PLAN_SECONDS:
            return replace(maps.combined(latest, None), missing=self._plan_refused[1])
        try:
            body = await self._get(
                "forecast", {"zone": self._zone, "horizonHours": self._horizon}, now
            )
            forecast = maps.parse_forecast(body, zone=self._zone, now_epoch_seconds=now)
        except FeedError as error:
            missing = f"There is no forecast: {error}"
            self._plan_refused = (now, missing) if error.reason in PLAN_REFUSALS else None
            alone = maps.combined(latest, None)
            return replace(alone, missing=missing, wait_seconds=error.wait_seconds)
        self._plan_refused = None
        return maps.combined(latest, forecast)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _get(self, what: str, parameters: dict[str, str], now: float) -> bytes:
        return await self._client.get(
            f"/carbon-intensity/{what}",
            parameters=parameters,
            headers=self._headers,
            now_epoch_seconds=now,
        )
