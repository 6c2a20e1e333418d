"""Measurements of several turns as the readings of domains that are decided on."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from capper.decide.observation import DomainReading, PowerReading, PowerSource
from capper.decide.policy import Policy
from capper.observe.measurements import Measurement
from capper.observe.windows import Windows


class _Key(NamedTuple):
    policy: str
    domain: str
    source: PowerSource


class History:
    """Remembers what was measured of each domain, by source.

    A turn in which a source is silent leaves its samples there, ever older, until nobody believes
    them: an outage of seconds changes nothing, one of minutes is seen as what it is.
    """

    def __init__(self) -> None:
        """Nothing measured."""
        self._windows = Windows()
        self._last: dict[_Key, Measurement] = {}

    def reading(
        self,
        policy: Policy,
        domain: str,
        measurements: Sequence[Measurement],
        inlet: tuple[float, float] | None,
        *,
        now_seconds: float,
    ) -> DomainReading:
        """The reading of one domain now.

        Args:
            policy: For the number of samples that count.
            domain: Its name.
            measurements: Of this turn.
            inlet: Celsius and age of the hottest inlet; None when there is none.
            now_seconds: Monotonic.
        """
        for one in measurements:
            key = _Key(policy.name, domain, one.source)
            self._last[key] = one
            if one.watts is not None and math.isfinite(one.age_seconds):
                self._windows.note(
                    key, one.watts, age_seconds=one.age_seconds, now_seconds=now_seconds
                )
        heat = (policy.name, domain)
        if inlet is not None:
            self._windows.note(heat, inlet[0], age_seconds=inlet[1], now_seconds=now_seconds)
        count = policy.freshness.worst_of_samples
        power = []
        for source in PowerSource:
            key = _Key(policy.name, domain, source)
            samples = self._windows.samples(key, count=count, now_seconds=now_seconds)
            if key not in self._last:
                continue
            last = self._last[key]
            power.append(
                PowerReading(
                    source=source,
                    samples=samples,
                    coverage_ratio=last.coverage_ratio,
                    limit_watts=last.limit_watts,
                    host_ratio=last.host_ratio,
                )
            )
        inlets = self._windows.samples(heat, count=count, now_seconds=now_seconds)
        return DomainReading(power=tuple(power), inlet_celsius=inlets)

    def forget_old(self, now_seconds: float) -> None:
        """Let go what was not measured for long."""
        self._windows.forget_old(now_seconds)
        self._last = {key: one for key, one in self._last.items() if self._windows.knows(key)}
