"""From the resource, as people write it, to the policy that the decision reads."""

from collections.abc import Iterable, Iterator

from capper.api.clock_block import GpuClocks
from capper.api.config import PowerCappingConfig, Spec
from capper.api.targets import TargetLimits
from capper.decide.clock_model import ClockCurve
from capper.decide.policy import (
    ROOT,
    DomainPolicy,
    LimitRange,
    Mode,
    NamedCap,
    Policy,
    Rung,
    TargetKind,
    TargetPolicy,
)
from capper.decide.tuning import Brakes, Clocks, Freshness, Limits, Pacing, Prices, Thresholds
from fleet.units import HERTZ_PER_MEGAHERTZ


def policy_of(
    config: PowerCappingConfig,
    *,
    enrolled: Iterable[TargetPolicy] = (),
    root_caps: tuple[NamedCap, ...] = (),
) -> Policy:
    """The policy of one resource.

    Args:
        config: The resource, valid.
        enrolled: Targets that its selectors found; one that is named too is not taken twice.
        root_caps: Further caps on the whole that hold now: carbon, a share of a parent's watts.
    """
    spec = config.spec
    named = [
        target_of(
            ref,
            kind=ref.kind,
            name=ref.metadata.name,
            namespace=config.metadata.namespace,
            spec=spec,
        )
        for ref in spec.refs()
    ]
    targets = {target.ref: target for target in (*enrolled, *named)}
    return Policy(
        name=f"{config.metadata.namespace}/{config.metadata.name}",
        domains=tuple(_domains(spec, root_caps)),
        targets=tuple(targets.values()),
        mode=Mode(spec.mode),
        rungs=frozenset(_rungs(spec)),
        thresholds=Thresholds(
            watch_ratio=spec.thresholds.watch_ratio,
            watch_leave_ratio=spec.thresholds.watch_leave_ratio,
            restrict_ratio=spec.thresholds.restrict_ratio,
            restrict_leave_ratio=spec.thresholds.restrict_leave_ratio,
            shed_ratio=spec.thresholds.shed_ratio,
        ),
        freshness=_freshness(spec),
        pacing=_pacing(spec),
        prices=Prices(max_ratio=spec.price.max_factor, steps=spec.price.steps),
        clocks=_clocks(spec.gpu_clocks),
        limits=Limits(margin_ratio=spec.gpu_clocks.limit_margin_ratio),
        brakes=Brakes(
            ratio=spec.brake.ratio,
            after_seconds=spec.brake.after_seconds,
            hold_seconds=spec.brake.hold_seconds,
        ),
        high_priority=spec.gpu_clocks.high_priority,
    )


def target_of(
    limits: TargetLimits, *, kind: str, name: str, namespace: str, spec: Spec
) -> TargetPolicy:
    """One workload with the limits that the resource gives it."""
    return TargetPolicy(
        ref=f"{kind}/{namespace}/{name}",
        kind=TargetKind(kind),
        backend=name,
        domain=limits.domain or ROOT,
        min_replicas=1 if limits.min_replicas is None else limits.min_replicas,
        max_replicas=limits.max_replicas,
        priority=limits.priority,
        replica_watts=limits.watts_per_replica,
        clocks=_clock_curve(spec.gpu_clocks),
        limit_range=_limit_range(spec.gpu_clocks),
        prefers_pause=(
            spec.replica_bounds.prefer_paused_scale_out and kind == TargetKind.SCALED_OBJECT
        ),
    )


def _domains(spec: Spec, root_caps: tuple[NamedCap, ...]) -> Iterator[DomainPolicy]:
    """The power tree: the whole, the named domains, the racks at the leaves."""
    yield DomainPolicy(
        name=ROOT,
        caps=(
            NamedCap(source="powerCapLimit", watts=spec.power_cap_limit),
            *_thresholds_of(spec, ROOT),
            *root_caps,
        ),
    )
    feeds = {rack: domain.name for domain in spec.domains for rack in domain.racks}
    for domain in spec.domains:
        yield DomainPolicy(
            name=domain.name,
            parent=domain.parent or ROOT,
            caps=(
                NamedCap(source=f"capWatts of {domain.name}", watts=domain.cap_watts),
                *_thresholds_of(spec, domain.name),
            ),
        )
    limited = {rack.rack_id: rack for rack in spec.rack_constraints}
    for name in dict.fromkeys([*limited, *feeds]):
        rack = limited.get(name)
        caps = (NamedCap(source=f"maxPower of {name}", watts=rack.max_power),) if rack else ()
        yield DomainPolicy(
            name=name,
            parent=feeds.get(name, ROOT),
            caps=(*caps, *_thresholds_of(spec, name)),
            max_inlet_celsius=rack.max_temperature if rack else None,
        )


def _thresholds_of(spec: Spec, domain: str) -> Iterator[NamedCap]:
    for number, metric in enumerate(spec.metrics):
        if metric.threshold is not None and (metric.domain or ROOT) == domain:
            yield NamedCap(source=f"threshold of metrics[{number}]", watts=metric.threshold)


def _rungs(spec: Spec) -> Iterator[Rung]:
    if spec.price.enabled:
        yield Rung.PRICE
    if spec.gpu_clocks.enabled:
        yield Rung.CLOCKS
    if _limit_range(spec.gpu_clocks) is not None:
        yield Rung.LIMITS
    if spec.replica_bounds.enabled:
        yield Rung.REPLICAS
    if spec.brake.enabled:
        yield Rung.BRAKE


def _freshness(spec: Spec) -> Freshness:
    block = spec.freshness
    return Freshness(
        stale_after_seconds=block.stale_after_seconds,
        safe_after_seconds=block.safe_after_seconds,
        min_coverage_ratio=block.min_coverage_ratio,
        worst_of_samples=block.worst_of_samples,
        safe_max_replicas=block.safe_max_replicas,
    )


def _pacing(spec: Spec) -> Pacing:
    block = spec.safety
    return Pacing(
        spike_margin_ratio=block.spike_margin_ratio,
        dwell_seconds=block.dwell_seconds,
        leave_samples=block.leave_samples,
        shed_interval_seconds=block.shed_interval_seconds,
        grow_interval_seconds=block.grow_interval_seconds,
        grow_jitter_ratio=block.grow_jitter_ratio,
        max_direction_changes=block.max_direction_changes,
        oscillation_window_seconds=block.oscillation_window_seconds,
        oscillation_freeze_seconds=block.oscillation_freeze_seconds,
        escalate_after_seconds=block.escalate_after_seconds,
        max_reverts=block.max_reverts,
        evict_after_seconds=spec.replica_bounds.evict_after_seconds,
    )


def _clocks(block: GpuClocks) -> Clocks:
    highest = block.max_mega_hertz
    return Clocks(
        low_ratio=block.low_ratio,
        high_ratio=block.high_ratio,
        deep_ratio=block.deep_ratio,
        deep_floor_ratio=block.deep_floor_ratio,
        min_hertz=block.min_mega_hertz * HERTZ_PER_MEGAHERTZ,
        max_hertz=None if highest is None else highest * HERTZ_PER_MEGAHERTZ,
        ramp_up_seconds=block.ramp_up_seconds,
    )


def _limit_range(block: GpuClocks) -> LimitRange | None:
    """The power limits that a replica can keep; None where none are to be dealt."""
    lowest, highest = block.lowest_limit_watts, block.highest_limit_watts
    if not block.enabled or lowest is None or highest is None:
        return None
    return LimitRange(lowest, highest)


def _clock_curve(block: GpuClocks) -> ClockCurve | None:
    """How time and power follow the clock; None where clocks are not to be touched."""
    if not block.enabled or block.base_mega_hertz is None:
        return None
    return ClockCurve(
        base_hertz=block.base_mega_hertz * HERTZ_PER_MEGAHERTZ,
        knee_hertz=block.knee_mega_hertz * HERTZ_PER_MEGAHERTZ,
        time_share=block.time_share_ratio,
        power_share=block.power_share_ratio,
        static_watts=block.static_watts,
    )
