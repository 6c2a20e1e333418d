"""The supply temperature that cooling control goes by, asked of Prometheus."""

from typing import TYPE_CHECKING

from capper.api.config import Spec
from capper.decide.observation import Sample
from fleet.clock import Clock
from headrace.capping_inputs import PrometheusAccess

if TYPE_CHECKING:
    from capper.observe.askers import Askers

_RECORDED = "capper:supply_celsius"


class AskedSupply:
    """Asks the query of `placement.queries`, or for the recording rule."""

    def __init__(self, access: PrometheusAccess, clock: Clock) -> None:
        """Ask the Prometheus of `access` where a configuration names none."""
        self._access = access
        self._clock = clock
        self._askers: Askers | None = None

    async def read(self, spec: Spec) -> Sample | None:
        """The temperature with its age; None where nobody tells."""
        # Its clients take a second to import, which only those who use them should wait for.
        from capper.observe.askers import Askers  # noqa: PLC0415 - see above
        from capper.observe.question import UnusableError  # noqa: PLC0415 - see above

        queries = None if spec.placement is None else spec.placement.queries
        url = (queries and queries.prometheus_address) or self._access.url
        if url is None:
            return None
        if self._askers is None:
            self._askers = Askers(self._access.settings(), self._clock)
        text = (queries and queries.supply_celsius) or _RECORDED
        try:
            measured = await self._askers.measure(url.rstrip("/"), text)
        except UnusableError:
            return None
        return Sample(measured.value, measured.age_seconds)

    async def aclose(self) -> None:
        """Close the client."""
        if self._askers is not None:
            await self._askers.aclose()
