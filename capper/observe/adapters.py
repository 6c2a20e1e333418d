"""Metrics from elsewhere than Prometheus: adapters that users install as Python packages.

An adapter is an entry point of the group `headrace.metric_adapters`. Its name is what `type` says
in `spec.metrics`; it leads to something that is called without arguments and gives a
`MetricAdapter`. docs/metric-adapters.md has a whole example.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

GROUP = "headrace.metric_adapters"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRequest:
    """What one entry of `spec.metrics` asks for.

    Attributes:
        configuration: "namespace/name" of the PowerCappingConfig.
        domain: Rack or domain; "fleet" is the whole.
        query: As written.
        address: `prometheusAddress`, as written, for adapters that need one.
    """

    configuration: str
    domain: str
    query: str
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """What an adapter measured.

    Attributes:
        watts: Of the whole domain.
        age_seconds: Since it was measured, not since it was read.
        coverage_ratio: Meters that report over all; None when that cannot be known.
    """

    watts: float
    age_seconds: float
    coverage_ratio: float | None = None


class MetricError(Exception):
    """Nothing was measured; the message is one sentence for the resource's status."""


class MetricAdapter(Protocol):
    """Measures. Runs in the capper's event loop: what blocks belongs into a thread."""

    async def measure(self, request: MetricRequest) -> MetricReading:
        """One number of watts.

        Raises:
            MetricError: There is none now. Never give 0 for unknown.
        """
        ...


AdapterFactory = Callable[[], MetricAdapter]


class Adapters:
    """The adapters of this process, each made when it is first asked for."""

    def __init__(self, factories: Mapping[str, AdapterFactory] | None = None) -> None:
        """Take `factories`, or those that are installed when None."""
        self._factories = factories
        self._made: dict[str, MetricAdapter] = {}

    def get(self, name: str) -> MetricAdapter:
        """The adapter of this name.

        Raises:
            MetricError: There is none, or it cannot be loaded.
        """
        if name not in self._made:
            factories = _installed() if self._factories is None else self._factories
            if name not in factories:
                known = ", ".join(sorted(factories)) or "none"
                raise MetricError(f'no metric adapter "{name}" is installed; installed: {known}.')
            try:
                self._made[name] = factories[name]()
            except Exception as error:
                raise MetricError(f'metric adapter "{name}" cannot be loaded: {error}.') from error
        return self._made[name]


def _installed() -> dict[str, AdapterFactory]:
    return {point.name: partial(_made, point) for point in entry_points(group=GROUP)}


def _made(point: EntryPoint) -> MetricAdapter:
    """Imports the package only now, when it is used."""
    factory: AdapterFactory = point.load()
    return factory()
