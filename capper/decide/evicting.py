"""Emergency eviction, for those who ask for it: long over a cap, and bounds have not helped."""

from collections.abc import Container, Mapping, Sequence

from capper.decide.ladder import Outcome
from capper.decide.observe import Trust
from capper.decide.plan import EvictReplica, Why
from capper.decide.policy import Policy, Rung, TargetKind
from capper.decide.sight import Sight
from capper.decide.workload import Workload


def evictions(
    policy: Policy,
    sights: Mapping[str, Sight],
    outcomes: Sequence[Outcome],
    cut: Container[str],
    *,
    now_seconds: float,
) -> list[EvictReplica]:
    """One replica of each target that has more than fit, once a cap is exceeded for too long.

    `Outcome.kept` already spares high priorities and the best tokens per joule. Never below the
    floor: the policy's, the workload's and the ready replicas that disruption budgets ask for; nor
    while a bound takes a replica in this turn or took one a moment ago; nor on doubtful watts.

    Args:
        policy: With the time, None: never.
        sights: Domains.
        outcomes: Targets.
        cut: Refs of the targets whose bound falls below what runs in this turn.
        now_seconds: Epoch time.
    """
    after_seconds = policy.pacing.evict_after_seconds
    if after_seconds is None or Rung.REPLICAS not in policy.rungs:
        return []
    late = {
        name: now_seconds - sight.memory.over_since_seconds
        for name, sight in sights.items()
        if sight.over and sight.memory.over_since_seconds is not None
    }
    found = []
    for outcome in outcomes:
        one = outcome.workload
        over_seconds = max((late.get(name, 0.0) for name in one.shares), default=0.0)
        if (
            over_seconds >= after_seconds
            and outcome.trust is Trust.USABLE
            and outcome.kept < (one.current or 0)
            and one.ready > one.ready_floor
            and one.policy.kind is not TargetKind.LOCAL
            and one.ref not in cut
            and _rested(one, policy.pacing.shed_interval_seconds, now_seconds)
        ):
            sentence = (
                f"over the cap for {over_seconds:.0f} s: {outcome.kept} of {one.current} replicas"
                f" fit, and {one.ready_floor} stay ready"
            )
            found.append(EvictReplica(one.ref, one.ready_floor, Why(sentence=sentence)))
    return found


def _rested(one: Workload, interval_seconds: float, now_seconds: float) -> bool:
    last = one.memory.shed_seconds
    return last is None or now_seconds - last >= interval_seconds
