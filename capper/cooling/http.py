"""A cooling manager over HTTP, as Redfish has it: GET a resource, PATCH its set-point."""

import json
import math
from collections.abc import Mapping
from typing import Any

import aiohttp

from capper.api.room_blocks import Cooling
from capper.api.set_point_body import filled
from capper.cooling.adapter import CoolingError, CoolingTrouble, ManagerReading
from capper.decide.cooling import SetPoint
from telemetry.bounded_body import bounded_body

_MAX_BODY_BYTES = 1024 * 1024
_SHOWN_CHARACTERS = 200


class HttpCooling:
    """One resource of a manager; redirects are not followed, so the token goes to no other host."""

    def __init__(self, cooling: Cooling, *, token: str | None) -> None:
        """Open nothing yet.

        Args:
            cooling: Its block, with a URL.
            token: Sent as bearer; None: none.
        """
        self._spec = cooling
        self._url = cooling.url or ""
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def read(self) -> ManagerReading:
        """See CoolingAdapter."""
        document = _decoded(await self._asked("GET", None))
        spec = self._spec
        sensor = spec.sensor_pointer
        return ManagerReading(
            set_celsius=_number(document, spec.read_pointer),
            supply_celsius=None if sensor is None else _number(document, sensor),
        )

    async def write(self, point: SetPoint, *, valid_seconds: float) -> None:
        """See CoolingAdapter."""
        values = {"supplyCelsius": point.supply_celsius, "validSeconds": valid_seconds}
        if point.airflow_m3_per_second is not None:
            values["airflowCubicMetersPerSecond"] = point.airflow_m3_per_second
        await self._asked(self._spec.method, filled(self._spec.body, values))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _asked(self, method: str, body: Any) -> bytes:
        """The body of a 2xx."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._spec.timeout_seconds)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.request(
                method, self._url, json=body, headers=self._headers(), allow_redirects=False
            ) as answer:
                status = answer.status
                text = await bounded_body(answer, max_bytes=_MAX_BODY_BYTES)
        except TimeoutError as error:
            raise CoolingError(
                CoolingTrouble.TIMEOUT,
                f"{method}: the cooling manager did not answer within"
                f" {self._spec.timeout_seconds:g} s.",
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CoolingError(
                CoolingTrouble.UNREACHABLE,
                f"{method}: the cooling manager cannot be reached: {self._clean(str(error))}.",
            ) from error
        if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's classes
            refused = 300 <= status < 500  # noqa: PLR2004 - HTTP's classes
            said = self._clean(text.decode(errors="replace"))
            raise CoolingError(
                CoolingTrouble.REFUSED if refused else CoolingTrouble.STATUS,
                f"{method}: the cooling manager answered {status}{f': {said}' if said else ''}.",
            )
        return text

    def _headers(self) -> Mapping[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def _clean(self, text: str) -> str:
        """One short line without the token."""
        if self._token is not None:
            text = text.replace(self._token, "***")
        return " ".join(text.split())[:_SHOWN_CHARACTERS].rstrip(".")


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CoolingError(
            CoolingTrouble.MALFORMED, "GET: the cooling manager's answer is not JSON."
        ) from error


def _number(document: Any, pointer: str) -> float:
    """The number at an RFC 6901 pointer.

    Raises:
        CoolingError: There is none.
    """
    found = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError):
            found = None
            break
    if isinstance(found, int | float) and not isinstance(found, bool):
        try:
            value = float(found)
        except OverflowError:  # JSON's integers have no bound
            value = math.nan
        if math.isfinite(value):
            return value
    raise CoolingError(
        CoolingTrouble.MALFORMED,
        f"GET: the cooling manager's answer has no number at {pointer}.",
    )
