"""One entry of `spec.metrics`, or a domain's query, as a measurement or a sentence why not."""

import asyncio
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

from capper.api.config import PowerCappingConfig
from capper.decide.observation import PowerSource
from capper.decide.policy import ROOT
from capper.observe.adapters import Adapters, MetricError, MetricRequest
from capper.observe.askers import Askers
from capper.observe.measurements import Measurement
from capper.observe.question import UnusableError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query of a configuration.

    Attributes:
        place: Where it is written, for messages.
        domain: What it measures.
        type: "prometheus", or an adapter's name.
        query: The text.
        address: Of the Prometheus; None: the default one.
        scope_count: How many series it should rest on.
    """

    place: str
    domain: str
    type: str
    query: str
    address: str | None = None
    scope_count: int | None = None


def asked_of(config: PowerCappingConfig) -> Iterator[Asked]:
    """All queries of a configuration."""
    for number, metric in enumerate(config.spec.metrics):
        yield Asked(
            place=f"metrics[{number}]",
            domain=metric.domain or ROOT,
            type=metric.type,
            query=metric.query,
            address=metric.prometheus_address,
            scope_count=metric.scope_count,
        )
    for number, domain in enumerate(config.spec.domains):
        if domain.query is not None:
            yield Asked(
                place=f"domains[{number}].query",
                domain=domain.name,
                type="prometheus",
                query=domain.query,
            )


class Meters:
    """Measures what is asked for."""

    def __init__(
        self, askers: Askers, adapters: Adapters, *, url: str | None, timeout_seconds: float
    ) -> None:
        """Ask through `askers` and `adapters`; `url` where a query names no address."""
        self._askers = askers
        self._adapters = adapters
        self._url = url
        self._timeout_seconds = timeout_seconds

    async def measure(self, configuration: str, one: Asked) -> tuple[Measurement | None, str]:
        """The measurement, or None and one sentence why there is none. Never raises."""
        try:
            if one.type == "prometheus":
                return await self._queried(one), ""
            return await self._adapted(configuration, one), ""
        except (UnusableError, MetricError) as error:
            return None, f"{one.place}: {error}"
        except TimeoutError:
            limit = f"{self._timeout_seconds:g} s"
            return None, f'{one.place}: metric adapter "{one.type}" did not answer within {limit}.'
        except Exception as error:  # noqa: BLE001 - an adapter of the user's may raise anything
            _log.exception("%s of %s failed", one.place, configuration)
            return None, f"{one.place}: {type(error).__name__}: {error}."

    async def _queried(self, one: Asked) -> Measurement:
        url = one.address or self._url
        if url is None:
            raise UnusableError("no prometheusAddress, and the capper was started without one.")
        measured = await self._askers.measure(url.rstrip("/"), one.query)
        coverage = None
        if one.scope_count is not None:
            coverage = min(1.0, measured.series / one.scope_count)
        return Measurement(
            source=PowerSource.QUERY,
            watts=measured.value,
            age_seconds=measured.age_seconds,
            coverage_ratio=coverage,
        )

    async def _adapted(self, configuration: str, one: Asked) -> Measurement:
        request = MetricRequest(
            configuration=configuration, domain=one.domain, query=one.query, address=one.address
        )
        async with asyncio.timeout(self._timeout_seconds):
            reading = await self._adapters.get(one.type).measure(request)
        if not math.isfinite(reading.watts):
            raise MetricError(f'metric adapter "{one.type}" gives {reading.watts:g}.')
        return Measurement(
            source=PowerSource.QUERY,
            watts=reading.watts,
            age_seconds=reading.age_seconds,
            coverage_ratio=reading.coverage_ratio,
        )


def worst(measurements: list[Measurement]) -> Measurement:
    """Several queries of one domain as one: the most watts, the greatest age, the least coverage.

    As in KEDA, where the largest of several triggers counts.
    """
    coverages = [one.coverage_ratio for one in measurements if one.coverage_ratio is not None]
    return Measurement(
        source=PowerSource.QUERY,
        watts=max(one.watts for one in measurements if one.watts is not None),
        age_seconds=max(one.age_seconds for one in measurements),
        coverage_ratio=min(coverages, default=None),
    )
