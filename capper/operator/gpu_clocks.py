"""Clocks and limits of a configuration from turn to turn: what it holds, and what does not hold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from capper.actuators.workloads import Trouble, WorkloadError
from capper.clocks.lease import OnExpiry
from capper.clocks.targets import TargetLock, Terms
from capper.decide.observation import Observation
from capper.decide.plan import (
    Condition,
    ConditionType,
    Plan,
    ReleaseClock,
    ReleasePowerLimit,
    SetClock,
    SetPowerLimit,
)
from capper.decide.state import TargetState
from capper.operator.enrolment import Look
from capper.operator.entry import Entry
from fleet.units import HERTZ_PER_MEGAHERTZ

ClockAction = SetClock | ReleaseClock | SetPowerLimit | ReleasePowerLimit


class ClockLocks(Protocol):
    """Whoever locks GPU clocks and sets power limits, by leases of one holder a configuration."""

    async def keep(self, config: str, locks: Sequence[TargetLock], terms: Terms) -> None:
        """Renew all that a configuration holds, for the replicas that there are now."""
        ...

    async def set_clock(self, config: str, target: str, hertz: float | None) -> None:
        """Lock the clocks of all replicas at or below `hertz` (None: not any more).

        Raises:
            WorkloadError: Nothing of it is in force.
        """
        ...

    async def set_limit(self, config: str, target: str, watts: float | None) -> None:
        """Limit each replica to `watts` (None: not any more).

        Raises:
            WorkloadError: It is not in force everywhere.
        """
        ...

    async def forget(self, config: str) -> None:
        """Let go of all that a configuration holds."""
        ...

    def in_force(self, config: str) -> Mapping[str, float]:
        """Target -> the lowest clock that is acknowledged, hertz; those without a lock are not."""
        ...

    def problems(self, config: str) -> tuple[str, ...]:
        """Boards that do not hold what they should, one sentence each."""
        ...


async def carry_out(clocks: ClockLocks | None, entry: Entry, action: ClockAction) -> None:
    """One action.

    Raises:
        WorkloadError: It was not done.
    """
    if clocks is None:
        raise WorkloadError(
            Trouble.UNSUPPORTED,
            f"{action.target}: no GPU clock agent is configured (capper.gpu_clocks).",
        )
    match action:
        case SetClock():
            await clocks.set_clock(entry.name, action.target, action.hertz)
        case ReleaseClock():
            await clocks.set_clock(entry.name, action.target, None)
        case SetPowerLimit():
            await clocks.set_limit(entry.name, action.target, action.watts)
        case ReleasePowerLimit():
            await clocks.set_limit(entry.name, action.target, None)


def words_of(action: SetClock | SetPowerLimit) -> str:
    """The action in a few words."""
    if isinstance(action, SetClock):
        return f"clocks at most {action.hertz / HERTZ_PER_MEGAHERTZ:.0f} MHz"
    return f"at most {action.watts:.0f} W a replica"


async def keep(clocks: ClockLocks | None, entry: Entry, found: Look) -> None:
    """Renew what is in force, as the memory has it: also after a restart, also for new replicas."""
    if clocks is None:
        return
    block = entry.config.spec.gpu_clocks
    terms = Terms(
        lease_seconds=block.lease_seconds,
        on_expiry=OnExpiry(block.on_lease_expiry),
        net_watts=block.power_limit_watts if block.enabled and entry.enforces else None,
    )
    await clocks.keep(entry.name, _locks(entry, found), terms)


def with_clocks(clocks: ClockLocks | None, entry: Entry, seen: Observation) -> Observation:
    """The observation with the clocks that agents have acknowledged."""
    held = {} if clocks is None else clocks.in_force(entry.name)
    if not held:
        return seen
    targets = {
        ref: replace(reading, clock_hertz=held.get(ref)) for ref, reading in seen.targets.items()
    }
    return replace(seen, targets=targets)


def with_problems(clocks: ClockLocks | None, entry: Entry, plan: Plan) -> Plan:
    """The plan with a condition where boards do not hold what they should."""
    problems = () if clocks is None else clocks.problems(entry.name)
    if not problems:
        return plan
    sentence = " ".join(problems).removesuffix(".")  # several are joined later
    partial = Condition(ConditionType.CLOCKS_PARTIAL, sentence)
    return replace(plan, conditions=(*plan.conditions, partial))


def _locks(entry: Entry, found: Look) -> list[TargetLock]:
    locks = []
    for target in found.policy.targets:
        memory = entry.state.targets.get(target.ref, TargetState())
        holds = memory if entry.enforces else TargetState()
        locks.append(
            TargetLock(
                ref=target.ref,
                backend=target.backend,
                curve=target.clocks,
                hertz=holds.clock_hertz,
                limit_watts=holds.limit_watts,
            )
        )
    return locks
