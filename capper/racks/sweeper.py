"""The sweeper: lifts gates that nobody lifted in time, so that no lost capper blocks a pod.

It knows no configuration and no rack, keeps nothing, and may run any number of times at once: a
gate that is gone already is what it wanted.
"""

import asyncio
import logging
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from capper.kube.api import KubeApi, KubeError
from capper.racks.marks import POD
from capper.racks.narrowing import is_gated, let_go
from capper.racks.pod_writer import PodWriter, RefusedError
from capper.racks.pods import age_seconds, name_of
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_PENDING = "status.phase=Pending"


class Sweeper:
    """Looks for old gates."""

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        namespaces: Sequence[str],
        gate_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            api: The API server.
            clock: For the age of pods.
            registry: For metrics.
            namespaces: That are swept; none: all.
            gate_seconds: A pod that is older and still gated is let go.
        """
        self._api = api
        self._clock = clock
        self._writer = PodWriter(api, clock)
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._gate_seconds = gate_seconds
        self._lifted = Counter(
            "headrace_sweeper_lifted_total", "Gates that were lifted.", registry=registry
        )
        self._failures = Counter(
            "headrace_sweeper_failures_total", "Sweeps that ended early.", registry=registry
        )
        self._swept = Gauge(
            "headrace_sweeper_swept_timestamp_seconds",
            "When the newest whole sweep ended, epoch seconds.",
            registry=registry,
        )

    async def sweep(self) -> int:
        """Once through all namespaces; returns how many gates were lifted.

        Raises:
            KubeError: The API server did not answer as it should; what was lifted stays lifted.
        """
        lifted = 0
        for namespace in self._namespaces:
            for pod in await self._api.find(POD, namespace, fields=_PENDING):
                age = age_seconds(pod, self._clock.epoch_seconds())
                if is_gated(pod) and age >= self._gate_seconds:
                    lifted += await self._lift(pod, age)
        self._swept.set(self._clock.epoch_seconds())
        return lifted

    async def run(self, period_seconds: float) -> None:
        """Sweep for ever."""
        silent = ""
        while True:
            try:
                await self.sweep()
                if silent:
                    _log.info("the API server answers again")
                silent = ""
            except KubeError as error:
                self._failures.inc()
                if str(error) != silent:  # one line for an outage, not one for each sweep
                    _log.warning("a sweep ended early: %s", error)
                silent = str(error)
            await asyncio.sleep(period_seconds)

    async def _lift(self, pod: dict[str, object], age: float) -> int:
        try:
            await self._writer.patch(pod, let_go(pod))
        except RefusedError as error:
            _log.info("%s/%s is left alone: %s", *name_of(pod), error)
            return 0
        self._lifted.inc()
        _log.warning("%s/%s: its gate was %.0f s old and is lifted", *name_of(pod), age)
        message = (
            f"No rack was chosen within {self._gate_seconds:g} s: the gate is lifted as it is."
        )
        await self._writer.tell(pod, "Warning", "GateSwept", message)
        return 1
