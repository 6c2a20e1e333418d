"""Builders of what the capper sees and is asked, for tests of its decisions."""

from dataclasses import replace

from capper.decide.loop import decide
from capper.decide.observation import (
    DomainReading,
    Observation,
    PowerReading,
    Sample,
    TargetReading,
)
from capper.decide.plan import SetMaxReplicas
from capper.decide.policy import DomainPolicy, Mode, NamedCap, Policy, Rung, TargetPolicy
from capper.decide.state import State

CAP = 10_000.0
ONLY_REPLICAS = frozenset({Rung.REPLICAS})


def policy_of(*targets, cap=CAP, domains=(), rungs=ONLY_REPLICAS, **rest):
    root = DomainPolicy(name="fleet", caps=(NamedCap(source="powerCapLimit", watts=cap),))
    return Policy(
        domains=(root, *domains),
        targets=targets or (TargetPolicy(ref="a"),),
        mode=Mode.ENFORCE,
        rungs=rungs,
        **rest,
    )


def watts(*values, age=0.0, **rest):
    samples = tuple(Sample(value, age + 15.0 * number) for number, value in enumerate(values))
    return DomainReading(power=(PowerReading(samples=samples, **rest),))


def target(current, *, each=500.0, top=10, **rest):
    return replace(
        TargetReading(
            spec_replicas=current,
            status_replicas=current,
            ready_replicas=current,
            min_replicas=1,
            max_replicas=top,
            watts=current * each,
            replica_watts_p95=each,
        ),
        **rest,
    )


def seen(power, **targets):
    reading = power if isinstance(power, DomainReading) else watts(power)
    return Observation(domains={"fleet": reading}, targets=targets)


def bounds(plan):
    return {one.target: one.replicas for one in plan.actions if isinstance(one, SetMaxReplicas)}


def conditions(plan):
    return {one.type for one in plan.conditions}


def run(policy, observation, state=None, *, now=1000.0):
    return decide(policy, observation, state or State(), now_seconds=now)
