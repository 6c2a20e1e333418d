"""WattTime: a login that runs out, measured and forecast marginals."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace

from telemetry.carbon import watttime_wire as wire
from telemetry.carbon.calendar_times import minute_text
from telemetry.carbon.client import CarbonClient
from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.providers import PLAN_REFUSALS
from telemetry.carbon.published import Published
from telemetry.carbon.slots import IntensityKind

WATTTIME_URL = "https://api.watttime.org"
TOKEN_SECONDS = 1500.0
"""A token holds for 30 min; it is renewed a little before."""
_HISTORY_SECONDS = 3600.0


class WattTime:
    """One region: an hour measured and a day ahead, as far as the account may see them."""

    source = wire.SOURCE
    kind = IntensityKind.MARGINAL

    def __init__(
        self,
        *,
        region: str,
        user: str,
        password: str,
        base_url: str = WATTTIME_URL,
        horizon_hours: int = 24,
        timeout_seconds: float = 10.0,
    ) -> None:
        """Ask about `region` (as "CAISO_NORTH"), `horizon_hours` (24, 48 or 72) ahead."""
        self._region = region
        basic = b64encode(f"{user}:{password}".encode()).decode("ascii")
        self._basic = {"Authorization": f"Basic {basic}"}
        self._horizon = str(horizon_hours)
        self._client = CarbonClient(
            base_url, source=self.source, timeout_seconds=timeout_seconds, secrets=(password, basic)
        )
        self._token: str | None = None
        self._token_epoch_seconds = 0.0

    async def fetch(self, *, now_epoch_seconds: float) -> Published:
        """Measured and forecast figures; one that the account may not see costs only itself."""
        now = now_epoch_seconds
        await self._login_if_due(now)
        hour = {"start": minute_text(now - _HISTORY_SECONDS), "end": minute_text(now)}
        ahead, error = await self._points("forecast", {"horizon_hours": self._horizon}, now)
        if error is not None and error.reason not in PLAN_REFUSALS:
            # Down, or out of quota: a second question would be no better and not polite.
            raise error
        measured, other_error = await self._points("historical", hour, now)
        first_error = error or other_error
        if first_error is None:
            return wire.combined(measured, ahead)
        if ahead is None and measured is None:
            raise first_error
        what = "forecast" if ahead is None else "measured figure"
        return replace(
            wire.combined(measured, ahead),
            missing=f"There is no {what}: {first_error}",
            wait_seconds=first_error.wait_seconds,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _points(
        self, what: str, parameters: Mapping[str, str], now: float
    ) -> tuple[Published, None] | tuple[None, FeedError]:
        try:
            body = await self._get(
                f"/v3/{what}",
                {"region": self._region, "signal_type": "co2_moer", **parameters},
                now,
            )
            found = wire.parse_points(
                body, region=self._region, estimated=what == "forecast", now_epoch_seconds=now
            )
        except FeedError as error:
            return None, error
        return found, None

    async def _get(self, path: str, parameters: Mapping[str, str], now: float) -> bytes:
        """With a token that should hold; if it does not, once more with a new one."""
        try:
            return await self._asked(path, parameters, now)
        except FeedError as error:
            if error.reason is not FeedFailure.UNAUTHORIZED or self._token_epoch_seconds == now:
                raise
        self._token = None
        await self._login_if_due(now)
        return await self._asked(path, parameters, now)

    async def _login_if_due(self, now: float) -> None:
        """A clock that was stepped back counts as run out."""
        if self._token is not None and 0.0 <= now - self._token_epoch_seconds < TOKEN_SECONDS:
            return
        body = await self._client.get("/login", headers=self._basic, now_epoch_seconds=now)
        self._token = wire.parse_login(body)
        self._token_epoch_seconds = now

    async def _asked(self, path: str, parameters: Mapping[str, str], now: float) -> bytes:
        return await self._client.get(
            path,
            parameters=parameters,
            headers={"Authorization": f"Bearer {self._token}"},
            now_epoch_seconds=now,
        )
