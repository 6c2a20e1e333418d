"""The capper's hand on clocks and limits: claims through the agents, renewed turn by turn."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from capper.actuators.workloads import Trouble, WorkloadError
from capper.clocks.answered import TargetAnswer, answer_for
from capper.clocks.clock_board import BackendClock, ClockBoard, ClockedFleet
from capper.clocks.lease import OnExpiry
from capper.clocks.pool import AgentPool
from capper.clocks.targets import TargetLock, Terms, request_of
from fleet.clock import Clock
from fleet.topology import Fleet

_log = logging.getLogger(__name__)
_RUNS_OUT = "Its leases there run out."
_STAYS = "Its boards there hold the safe limit until `headrace agent --restore`."


class GpuLocks:
    """Implements capper.operator.acting.ClockLocks over the agents of all nodes."""

    def __init__(
        self, agents: AgentPool, fleet: Callable[[], Fleet], clocked: ClockedFleet, clock: Clock
    ) -> None:
        """Prepare.

        Args:
            agents: Of all nodes.
            fleet: Whose pods and boards are claimed.
            clocked: Told what the agents hold, for the router.
            clock: Monotonic time of the leases.
        """
        self._agents = agents
        self._fleet = fleet
        self._clocked = clocked
        self._clock = clock
        self._locks: dict[str, dict[str, TargetLock]] = {}
        self._terms: dict[str, Terms] = {}
        self._answers: dict[str, dict[str, TargetAnswer]] = {}
        self._said: dict[str, tuple[str, ...]] = {}
        self._acknowledged: dict[tuple[str, str], tuple[TargetAnswer, float]] = {}

    async def keep(self, config: str, locks: Sequence[TargetLock], terms: Terms) -> None:
        """Renew all that a configuration holds, for the replicas that there are now.

        Args:
            config: Its "namespace/name", the holder of its leases.
            locks: Of all its targets; those that hold nothing tell their backend.
            terms: Of its leases.
        """
        before = config in self._answers
        self._locks[config] = {lock.ref: lock for lock in locks}
        self._terms[config] = terms
        if self._wants(config):
            await self._hold(config)
        elif before:
            await self.forget(config)
            self._locks[config] = {lock.ref: lock for lock in locks}

    async def set_clock(self, config: str, target: str, hertz: float | None) -> None:
        """Lock the clocks of all replicas of a target at or below `hertz`; None: not any more.

        Raises:
            WorkloadError: No board took it up.
        """
        await self._change(config, replace(self._known(config, target), hertz=hertz))

    async def set_limit(self, config: str, target: str, watts: float | None) -> None:
        """Limit each replica of a target to `watts`; None: not any more.

        Raises:
            WorkloadError: A board did not take it up: the sum of limits is relied on.
        """
        lock = replace(self._known(config, target), limit_watts=watts)
        await self._change(config, lock, strict=watts is not None)

    async def forget(self, config: str) -> None:
        """Let go of all that a configuration holds; leases that cannot be reached run out."""
        _, failures = await self._agents.release(config)
        holds_on = self._terms.get(config, Terms()).on_expiry is OnExpiry.HOLD_SAFE_LIMIT
        then = _STAYS if holds_on else _RUNS_OUT
        for part in (self._locks, self._terms, self._answers, self._said):
            part.pop(config, None)
        for key in [key for key in self._acknowledged if key[0] == config]:
            del self._acknowledged[key]
        for sentence in failures:
            _log.warning("%s: %s %s", config, sentence, then)
        self._publish()

    def problems(self, config: str) -> tuple[str, ...]:
        """Boards that do not hold what they should, one sentence each."""
        found = self._answers.get(config, {}).values()
        return tuple(dict.fromkeys(one for answer in found for one in answer.problems))

    def in_force(self, config: str) -> dict[str, float]:
        """Target -> the lowest clock that is acknowledged, hertz; those without a lock are not."""
        answers = self._answers.get(config, {})
        return {ref: one.hertz for ref, one in answers.items() if one.hertz is not None}

    def settled(self, config: str) -> bool:
        """Whether every board of a configuration is where it was to go."""
        answers = self._answers.get(config, {}).values()
        return bool(answers) and all(one.settled for one in answers)

    async def aclose(self, *, release: bool) -> None:
        """Close connections; with `release`, after letting everything go."""
        if release:
            for config in list(self._answers):
                await self.forget(config)
        await self._agents.aclose()

    def _known(self, config: str, target: str) -> TargetLock:
        known = self._locks.setdefault(config, {})
        return known.setdefault(target, TargetLock(ref=target, backend=None))

    async def _change(self, config: str, lock: TargetLock, *, strict: bool = False) -> None:
        before = self._locks[config][lock.ref]
        self._locks[config][lock.ref] = lock
        if not self._wants(config):
            await self.forget(config)
            self._locks[config] = {lock.ref: lock}
            return
        answer = (await self._hold(config)).get(lock.ref, TargetAnswer())
        if lock.empty or (answer.held and not (strict and answer.problems)):
            return
        self._locks[config][lock.ref] = before
        trouble = Trouble.UNSUPPORTED if answer.refused else Trouble.UNAVAILABLE
        raise WorkloadError(trouble, " ".join(answer.problems) or f"{lock.ref}: no board held it.")

    def _wants(self, config: str) -> bool:
        terms = self._terms.get(config, Terms())
        locks = self._locks.get(config, {}).values()
        return any(not lock.empty or terms.net_watts is not None for lock in locks)

    async def _hold(self, config: str) -> dict[str, TargetAnswer]:
        fleet, terms = self._fleet(), self._terms.get(config, Terms())
        locks = list(self._locks[config].values())
        replies, failures = await self._agents.hold(request_of(config, locks, fleet, terms))
        answers = {
            lock.ref: answer_for(lock, fleet, replies, failures)
            for lock in locks
            if not lock.empty or terms.net_watts is not None
        }
        self._answers[config] = answers
        for lock in locks:
            self._note((config, lock.ref), answers.get(lock.ref, TargetAnswer()), lock)
        self._tell(config)
        self._publish()
        return answers

    def _tell(self, config: str) -> None:
        """One log line when what is wrong changes."""
        problems = self.problems(config)
        if problems != self._said.get(config, ()):
            for sentence in problems:
                _log.warning("%s: %s", config, sentence)
            if not problems:
                _log.info("%s: all boards hold what they should", config)
        self._said[config] = problems

    def _note(self, key: tuple[str, str], answer: TargetAnswer, lock: TargetLock) -> None:
        """Remember what was acknowledged; an agent that is silent still holds it."""
        if answer.held:
            self._acknowledged[key] = (answer, self._clock.monotonic_seconds())
        elif answer.refused or lock.empty:
            self._acknowledged.pop(key, None)

    def _publish(self) -> None:
        """What each backend is held to, for the router, the lowest of its boards."""
        now_seconds, ends = self._clock.monotonic_seconds(), [float("-inf")]
        boards = {one.name: one.gpus_per_replica for one in self._fleet().backends}
        clocks: dict[str, BackendClock] = {}
        for (config, ref), (answer, since_seconds) in self._acknowledged.items():
            lock = self._locks.get(config, {}).get(ref)
            terms = self._terms.get(config, Terms())
            end = since_seconds + terms.lease_seconds
            if lock is None or lock.curve is None or lock.backend not in boards:
                continue
            limited = lock.limit_watts is not None or terms.net_watts is not None
            watts = answer.limit_watts if limited else None
            limit = None if watts is None else watts * boards[lock.backend]
            if end <= now_seconds or (answer.hertz is None and limit is None):
                continue
            found = BackendClock(lock.curve, answer.hertz, limit)
            clocks[lock.backend] = found.with_lower(clocks.get(lock.backend, found))
            ends.append(end)
        self._clocked.current = ClockBoard(clocks=clocks, expires_seconds=max(ends))
