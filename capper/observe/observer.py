"""Asks Prometheus, and the adapters, what a configuration speaks of: the capper's eyes."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from capper.actuators.workloads import Workload
from capper.api.config import PowerCappingConfig
from capper.decide.observation import Observation
from capper.decide.policy import ROOT, Policy
from capper.observe.adapters import Adapters
from capper.observe.askers import Askers
from capper.observe.history import History
from capper.observe.measurements import (
    Measurement,
    inlet_of,
    of_parts,
    of_racks,
    of_targets,
    target_reading,
)
from capper.observe.meters import Asked, Meters, asked_of, worst
from capper.observe.question import UnusableError
from capper.observe.recorded import QUERY, Recorded, recorded
from fleet.clock import Clock
from telemetry.promql import PrometheusSettings, QueryError

_NO_RULES = (
    "Prometheus {url} has no series of Headrace's recording rules: install"
    " k8s/components/prometheus-rules, or give the watts by metrics[].query."
)


@dataclass(frozen=True, slots=True)
class _Tree:
    """What hangs where in one policy, and what was asked for by queries of its own."""

    policy: Policy
    racks: frozenset[str]
    queried: Mapping[str, list[Measurement]]

    def below(self, name: str) -> frozenset[str]:
        """The domain and all that it feeds."""
        found = {name}
        for _ in self.policy.domains:
            found |= {one.name for one in self.policy.domains if one.parent in found}
        return frozenset(found)


class PrometheusObserver:
    """A `capper.operator.observer.Observer` over Prometheus and metric adapters.

    Attributes:
        problems: By name of the policy, what of its last turn could not be used.
    """

    problems: Mapping[str, tuple[str, ...]]

    def __init__(
        self,
        prometheus_url: str | None,
        clock: Clock,
        *,
        timeout_seconds: float = 3.0,
        headers: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        host_ratio: float = 1.0,
        adapters: Adapters | None = None,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            prometheus_url: Asked for the recording rules, and by queries that name no address.
                When None, the first address of a configuration is asked for the rules.
            clock: For ages.
            timeout_seconds: For each answer; shorter than the loop's patience.
            headers: For the default Prometheus only, for example an Authorization.
            ca_file: Certificates to trust for https.
            host_ratio: Watts of a server over those of its GPU boards, where it is not measured.
            adapters: Those that are installed when None.
        """
        self._url = None if prometheus_url is None else prometheus_url.rstrip("/")
        self._clock = clock
        self._host_ratio = host_ratio
        settings = PrometheusSettings(
            url=self._url or "",
            timeout_seconds=timeout_seconds,
            headers=headers or {},
            ca_file=ca_file,
        )
        self._askers = Askers(settings, clock)
        self._meters = Meters(
            self._askers, adapters or Adapters(), url=self._url, timeout_seconds=timeout_seconds
        )
        self._history = History()
        self.problems = {}

    async def observe(
        self, config: PowerCappingConfig, policy: Policy, workloads: Mapping[str, Workload]
    ) -> Observation:
        """See `capper.operator.observer.Observer`; what is not known is missing, never 0."""
        asked = [*asked_of(config)]
        (seen, sentence), answers = await asyncio.gather(
            self._recorded(asked),
            asyncio.gather(*(self._meters.measure(policy.name, one) for one in asked)),
        )
        queried = _by_queries(asked, [measured for measured, _ in answers])
        problems = [told for _, told in answers if told]
        if sentence and (seen is None or len(queried) < len(policy.domains)):
            problems.append(sentence)
        seen = seen or Recorded()
        tree = _Tree(policy, _racks(config, policy), queried)
        # A query of one's own measures what its author chose, often boards alone.
        ratio = 1.0 if ROOT in queried else seen.host_ratio or self._host_ratio
        found = {
            domain.name: [*_of_domain(domain.name, tree, seen, workloads, ratio)]
            for domain in policy.domains
        }
        self.problems = {**self.problems, policy.name: tuple(problems)}
        await self._askers.close_unused()
        return self._observation(tree, found, seen, workloads, ratio)

    async def aclose(self) -> None:
        """Release connections and threads."""
        await self._askers.aclose()

    def _observation(
        self,
        tree: _Tree,
        found: Mapping[str, list[Measurement]],
        seen: Recorded,
        workloads: Mapping[str, Workload],
        ratio: float,
    ) -> Observation:
        now_seconds = self._clock.monotonic_seconds()
        self._history.forget_old(now_seconds)
        policy = tree.policy
        domains = {
            name: self._history.reading(
                policy,
                name,
                parts,
                inlet_of(tree.below(name) & tree.racks, seen),
                now_seconds=now_seconds,
            )
            for name, parts in found.items()
        }
        targets = {
            target.ref: target_reading(
                target, seen, workloads[target.ref], domains=tree.racks, host_ratio=ratio
            )
            for target in policy.targets
            if target.ref in workloads
        }
        return Observation(domains=domains, targets=targets)

    async def _recorded(self, asked: list[Asked]) -> tuple[Recorded | None, str]:
        """The rules, and a sentence when there is nothing of them; None: nobody answered."""
        addresses = [one.address for one in asked if one.type == "prometheus" and one.address]
        url = self._url or next(iter(addresses), None)
        if url is None:
            return None, "no Prometheus is known: give metrics[].prometheusAddress."
        url = url.rstrip("/")
        try:
            rows, late_seconds = await self._askers.rows(url, QUERY)
        except (UnusableError, QueryError) as error:
            return None, str(error)
        seen = recorded(rows)
        sentence = _NO_RULES.format(url=url) if seen.is_empty else ""
        return replace(seen, now_seconds=seen.now_seconds + late_seconds), sentence


def _racks(config: PowerCappingConfig, policy: Policy) -> frozenset[str]:
    """The domains that are racks: neither the whole nor one of `spec.domains`."""
    others = {ROOT, *(domain.name for domain in config.spec.domains)}
    return frozenset(domain.name for domain in policy.domains) - others


def _by_queries(
    asked: list[Asked], answers: list[Measurement | None]
) -> dict[str, list[Measurement]]:
    """One measurement for each domain with queries.

    None where one of them is without an answer: then the domain's worst is not known.
    """
    found: dict[str, list[Measurement]] = {}
    for name in {one.domain for one in asked}:
        parts = [part for one, part in zip(asked, answers, strict=True) if one.domain == name]
        known = [part for part in parts if part is not None]
        found[name] = [worst(known)] if len(known) == len(parts) else []
    return found


def _of_domain(
    name: str, tree: _Tree, seen: Recorded, workloads: Mapping[str, Workload], ratio: float
) -> Iterator[Measurement]:
    """By its own query, or else the sum of its racks, or else that of its workloads."""
    below = tree.below(name)
    racks = sorted(below & tree.racks)
    if name in tree.queried:
        yield from tree.queried[name]
    elif tree.queried.keys() & set(racks):
        parts = [
            tree.queried[rack] if rack in tree.queried else [*of_racks([rack], seen, ratio)]
            for rack in racks
        ]
        yield from of_parts(parts)
    elif racks:
        yield from of_racks(racks, seen, ratio)
    else:
        targets = [target for target in tree.policy.targets if target.domain in below]
        yield from of_targets(targets, seen, workloads, ratio)
