"""What the capper learns from the router of its process, and from whom it gets watts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from capper.actuators.workloads import Workload
from capper.api.config import PowerCappingConfig
from capper.decide.clocked import packed_tokens_per_joule
from capper.decide.observation import Observation, RouterForecast
from capper.decide.policy import Policy
from capper.operator.snapshot_observer import SnapshotObserver
from fleet.clock import Clock
from fleet.topology import Fleet
from router.admission.demand import WaitingDemand
from router.decide.backend_mixes import backend_mixes
from router.decide.picker import Picker
from telemetry.prometheus_settings import PrometheusSettings

if TYPE_CHECKING:
    from capper.observe.observer import PrometheusObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusAccess:
    """How a Prometheus is asked for watts (see capper.observe.observer.PrometheusObserver)."""

    url: str | None = None
    timeout_seconds: float = 3.0
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    host_ratio: float = 1.0

    def settings(self) -> PrometheusSettings:
        """Of a client; without a URL it is for configurations that name their own."""
        return PrometheusSettings(
            url=self.url or "",
            timeout_seconds=self.timeout_seconds,
            headers=self.headers,
            ca_file=self.ca_file,
        )


class ChosenObserver:
    """Prometheus for what names queries or where there is one, else the router's own snapshot.

    Attributes:
        problems: Of the queries, by name of the policy.
    """

    def __init__(self, snapshot: SnapshotObserver, access: PrometheusAccess, clock: Clock) -> None:
        """Ask `snapshot`, or the Prometheus of `access` or at a configuration's own address."""
        self._snapshot = snapshot
        self._access = access
        self._clock = clock
        self._prometheus: PrometheusObserver | None = None
        self.problems: Mapping[str, tuple[str, ...]] = {}

    async def observe(
        self, config: PowerCappingConfig, policy: Policy, workloads: Mapping[str, Workload]
    ) -> Observation:
        """See Observer."""
        spec = config.spec
        if (
            self._access.url is None
            and not spec.metrics
            and not any(one.query for one in spec.domains)
        ):
            return await self._snapshot.observe(config, policy, workloads)
        if self._prometheus is None:
            # Its client is only imported by those who use it.
            from capper.observe.observer import PrometheusObserver  # noqa: PLC0415 - see above

            access = self._access
            self._prometheus = PrometheusObserver(
                access.url,
                self._clock,
                timeout_seconds=access.timeout_seconds,
                headers=access.headers,
                ca_file=access.ca_file,
                host_ratio=access.host_ratio,
            )
        seen = await self._prometheus.observe(config, policy, workloads)
        self.problems = {
            **self.problems,
            policy.name: self._prometheus.problems.get(policy.name, ()),
        }
        return seen

    async def aclose(self) -> None:
        """Close connections."""
        if self._prometheus is not None:
            await self._prometheus.aclose()


def forecasts(picker: Picker, *, now_seconds: float) -> dict[str, RouterForecast]:
    """By backend: requests in flight, what the committed sets need of it, and what it is worth."""
    worths = {
        name: packed_tokens_per_joule(
            one.profile, one.mix, tpot_limit_seconds=one.tpot_limit_seconds
        )
        for name, one in backend_mixes(picker, now_seconds=now_seconds).items()
    }
    commitments = picker.commitments().values()
    committed = frozenset(one for each in commitments for one in each.addresses)
    units: dict[str, list[tuple[str, int]]] = {}
    for unit in picker.units():
        units.setdefault(unit.backend.name, []).append((unit.address, unit.account.running))
    return {
        backend: RouterForecast(
            in_flight_requests=sum(running for _, running in there),
            demand_replicas=sum(address in committed for address, _ in there)
            if commitments
            else None,
            unneeded_replicas=sum(
                address not in committed and not running for address, running in there
            )
            if commitments
            else None,
            packed_tokens_per_joule=worths.get(backend),
        )
        for backend, there in units.items()
    }


def with_waiting(
    known: Mapping[str, RouterForecast],
    fleet: Fleet,
    waiting: Mapping[str, WaitingDemand],
    awake: Callable[[str], int],
) -> dict[str, RouterForecast]:
    """The forecasts with those who wait: each of their models' backends needs one replica more.

    Args:
        known: By backend; one that has no replica for the router is not among them.
        fleet: The topology, replicas that sleep included: they tell which models they have.
        waiting: By model.
        awake: Replicas of a backend that serve or are about to.
    """
    found = dict(known)
    for backend in fleet.backends:
        models = {model for replica in backend.replicas for model in replica.models}
        if not any(waiting[model].requests for model in models & waiting.keys()):
            continue
        forecast = found.get(backend.name, RouterForecast())
        needed = max(forecast.demand_replicas or 0, awake(backend.name) + 1)
        found[backend.name] = replace(forecast, demand_replicas=needed)
    return found
