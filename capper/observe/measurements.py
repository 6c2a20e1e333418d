"""What the recording rules say of domains and workloads, as measurements with their coverage.

The rules are trusted for what they cover and no further: watts of parts that do not report are put
at the mean of those that do, so that a lost exporter never looks like headroom. Pure.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from capper.actuators.workloads import Workload
from capper.decide.observation import PowerSource, TargetReading
from capper.decide.policy import TargetPolicy
from capper.observe.recorded import SOURCES, RackKey, Recorded, WorkloadKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Watts of one domain from one source, now.

    Attributes:
        source: Where they were measured.
        watts: None when nothing reports.
        age_seconds: Of the oldest part.
        coverage_ratio: Parts that report over those that should; None when unknown.
        limit_watts: What it can draw at most; None when unknown.
        host_ratio: What the watts are to be multiplied by.
    """

    source: PowerSource
    watts: float | None = None
    age_seconds: float = math.inf
    coverage_ratio: float | None = None
    limit_watts: float | None = None
    host_ratio: float = 1.0


def of_racks(racks: Sequence[str], seen: Recorded, host_ratio: float) -> Iterator[Measurement]:
    """The sum of racks, from each source that any of them has."""
    for source in SOURCES.values():
        series = [seen.racks.get(RackKey(rack, source), {}) for rack in racks]
        if not any(series):
            continue
        limits = [one.get("limit_watts") for one in series]
        known = [one for one in series if "watts" in one]
        coverage = sum(one.get("coverage_ratio", 0.0) for one in series) / len(series)
        yield Measurement(
            source=source,
            watts=_whole(sum(one["watts"] for one in known) if known else None, coverage),
            age_seconds=max((seen.age_seconds(one) for one in known), default=math.inf),
            coverage_ratio=min(1.0, coverage),
            limit_watts=_sum(limits),
            host_ratio=host_ratio if source is PowerSource.BOARDS else 1.0,
        )


def of_parts(parts: Sequence[Sequence[Measurement]]) -> Iterator[Measurement]:
    """The sum of racks some of which have queries: of each its most trusted measurement."""
    best = [next((one for one in part if one.watts is not None), None) for part in parts]
    known = [one for one in best if one is not None]
    if not known:
        return
    covered = [1.0 if one.coverage_ratio is None else one.coverage_ratio for one in known]
    coverage = sum(covered) / len(parts)
    # What a part does not cover is in its watts already; what has no part at all is not.
    watts = sum((one.watts or 0.0) * one.host_ratio for one in known)
    yield Measurement(
        source=max(one.source for one in known),
        watts=_whole(watts, len(known) / len(parts)),
        age_seconds=max(one.age_seconds for one in known),
        coverage_ratio=coverage,
    )


def of_targets(
    targets: Sequence[TargetPolicy],
    seen: Recorded,
    workloads: Mapping[str, Workload],
    host_ratio: float,
) -> Iterator[Measurement]:
    """The sum of workloads; nothing when none of them is known of at all.

    A workload that has no pod draws nothing; one of which that is not known counts as a pod that
    does not report.
    """
    watts, ages, ready, reporting = 0.0, [], 0.0, 0.0
    for target in targets:
        workload = workloads.get(target.ref)
        series = seen.workloads.get(_key(target, workload, seen), {})
        pods = series.get("ready_pods", _pods(workload))
        ready += 1.0 if pods is None else pods
        if "watts" in series:
            watts += series["watts"]
            ages.append(seen.age_seconds(series))
            reporting += min(series.get("measured_pods", 0.0), pods or 0.0)
    if not ages and ready:
        return
    coverage = 1.0 if ready == 0.0 else reporting / ready
    yield Measurement(
        source=PowerSource.BOARDS,
        watts=_whole(watts, coverage),
        age_seconds=max(ages, default=0.0),
        coverage_ratio=coverage,
        host_ratio=host_ratio,
    )


def inlet_of(racks: Iterable[str], seen: Recorded) -> tuple[float, float] | None:
    """Celsius and age of the hottest inlet of some racks; None when none of them tells."""
    found = [
        (series["inlet_celsius"], seen.age_seconds(series, "inlet_measured_seconds"))
        for rack in racks
        if "inlet_celsius" in (series := seen.racks.get(RackKey(rack, None), {}))
    ]
    return max((one for one in found if math.isfinite(one[1])), default=None)


def target_reading(
    target: TargetPolicy,
    seen: Recorded,
    workload: Workload,
    *,
    domains: frozenset[str],
    host_ratio: float,
) -> TargetReading:
    """The workload's reading, completed; what is not known stays None.

    Args:
        target: Which.
        seen: The rules.
        workload: With replicas and bounds.
        domains: Racks of the policy, for the shares.
        host_ratio: What the watts are multiplied by, and tokens per joule divided by.
    """
    key = _key(target, workload, seen)
    series = seen.workloads.get(key, {})
    coverage = series.get("coverage_ratio", 0.0)
    return replace(
        workload.reading,
        watts=_times(_whole(series.get("watts"), coverage), host_ratio),
        replica_watts_p95=_times(series.get("replica_watts_p95"), host_ratio),
        output_tokens_per_second=series.get("output_tokens_per_second"),
        tokens_per_joule=_times(series.get("tokens_per_joule"), 1.0 / host_ratio),
        domain_shares=_shares(
            target, seen.workload_racks.get(key, {}), domains, series.get("ready_pods", 0.0)
        ),
    )


def _key(target: TargetPolicy, workload: Workload | None, seen: Recorded) -> WorkloadKey:
    """The object itself where the rules know its kind, else what owns its pods."""
    kind, namespace, name = target.ref.split("/", 2)
    backend = (None if workload is None else workload.backend) or target.backend or name
    known = (
        WorkloadKey(kind, namespace, name),
        WorkloadKey("Deployment", namespace, backend),
        WorkloadKey("StatefulSet", namespace, backend),
        WorkloadKey("LeaderWorkerSet", namespace, backend),
    )
    return next((key for key in known if key in seen.workloads), known[0])


def _pods(workload: Workload | None) -> float | None:
    if workload is None or workload.reading.current_replicas is None:
        return None
    return float(workload.reading.current_replicas)


def _whole(watts: float | None, coverage: float) -> float | None:
    """With those that do not report put at the mean of those that do."""
    if watts is None or coverage <= 0.0:
        return None
    return watts / min(1.0, coverage)


def _times(value: float | None, ratio: float) -> float | None:
    return None if value is None else value * ratio


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _shares(
    target: TargetPolicy, pods: Mapping[str, float], domains: frozenset[str], ready: float
) -> dict[str, float]:
    """Pods in racks that the policy does not know, or in none, count as the target's domain's."""
    placed = sum(pods.values())
    if not placed:
        return {}
    counts = {target.domain: max(0.0, ready - placed)}
    for rack, count in pods.items():
        name = rack if rack in domains else target.domain
        counts[name] = counts.get(name, 0.0) + count
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items() if count}
