"""Carrying out what a turn decided, so that a death at any point can be made good."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from capper.actuators.workloads import Trouble, Workload, WorkloadError
from capper.decide.memory import applied, restore_all
from capper.decide.plan import (
    Action,
    PauseScaleOut,
    Plan,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetMaxReplicas,
)
from capper.decide.state import TargetState
from capper.decide.tuning import Pacing
from capper.operator.acting import Actor, event_of, words
from capper.operator.enrolment import Look
from capper.operator.entry import Entry
from capper.operator.journal import Event, Journal
from capper.operator.leaving import (
    RestoreError,
    adopt,
    echo,
    hand_over,
    holder_of,
    is_ours,
    leftovers,
)
from capper.operator.report import ActionResult, Outcome
from capper.operator.status import memory_of
from capper.operator.timestamps import rfc3339
from fleet.clock import Clock

_NOT_NOTED = "what was before could not be noted in the status first, so nothing is written"
_NOTED = (SetMaxReplicas, PauseScaleOut)
_SHARED = (RestoreMaxReplicas, ResumeScaleOut)


class Doing:
    """Acts, remembers and tells."""

    def __init__(self, actor: Actor, journal: Journal, clock: Clock) -> None:
        """Act through `actor`, write and tell through `journal`."""
        self._actor = actor
        self._journal = journal
        self._clock = clock

    async def carry_out(
        self, entry: Entry, found: Look, plan: Plan, others: Sequence[Entry]
    ) -> tuple[ActionResult, ...]:
        """Put back what is not asked for any more, then do what the plan asks, in its order."""
        old = self._unshared(entry, leftovers(entry, found), others)
        actions = (*old, *plan.actions)
        noted = await self._note(entry, found, plan.actions)
        results = []
        for action in actions:
            now_seconds = self._clock.epoch_seconds()
            if isinstance(action, _NOTED) and not noted:
                result = ActionResult(
                    action=action,
                    outcome=Outcome.FAILED,
                    sentence=f"{action.target}: {_NOT_NOTED}.",
                    trouble=Trouble.UNAVAILABLE,
                    now_seconds=now_seconds,
                )
            else:
                result = await self._do(
                    entry, action, found.policy.pacing, others, now_seconds=now_seconds
                )
            results.append(result)
        now_seconds = self._clock.epoch_seconds()
        results += [
            ActionResult(action=action, outcome=Outcome.RECOMMENDED, now_seconds=now_seconds)
            for action in plan.recommended
        ]
        self._tell(entry, results)
        return tuple(results)

    async def put_back(self, entry: Entry, others: Sequence[Entry]) -> None:
        """Put everything back.

        Raises:
            RestoreError: Something is still there; what was put back is remembered.
        """
        failed = await self._look_again(entry, others)
        results = []
        for action in self._unshared(entry, restore_all(entry.state), others):
            now_seconds = self._clock.epoch_seconds()
            results.append(await self._do(entry, action, Pacing(), others, now_seconds=now_seconds))
        self._tell(entry, results)
        failed += [one.sentence for one in results if one.outcome is not Outcome.APPLIED]
        if failed:
            await self._journal.write(entry.config, {**entry.status, **memory_of(entry)})
            raise RestoreError(" ".join(dict.fromkeys(failed)))

    async def _look_again(self, entry: Entry, others: Sequence[Entry]) -> list[str]:
        """Find what a process that was killed had done last; says what could not be read."""
        workloads: dict[str, Workload] = {}
        failed = []
        refs = {*entry.refs.values(), *entry.originals, *entry.state.targets}
        for ref in sorted(refs):
            try:
                workloads[ref] = await self._actor.workloads_of(entry).read(ref)
            except WorkloadError as error:
                if error.trouble is not Trouble.GONE:
                    failed.append(str(error))
        adopt(entry, workloads, others, now_seconds=self._clock.epoch_seconds())
        return failed

    async def _do(
        self,
        entry: Entry,
        action: Action,
        pacing: Pacing,
        others: Sequence[Entry],
        *,
        now_seconds: float,
    ) -> ActionResult:
        result = await self._actor.act(entry, action, now_seconds=now_seconds)
        if result.outcome is Outcome.APPLIED:
            entry.state = applied(entry.state, action, now_seconds=now_seconds, pacing=pacing)
            if isinstance(action, RestoreMaxReplicas):
                entry.originals.pop(action.target, None)
            if entry.served is None:
                echo(action, others, now_seconds=now_seconds)
        return result

    async def _note(self, entry: Entry, found: Look, actions: Sequence[Action]) -> bool:
        """Write down what is there before it is bounded: some objects cannot keep it themselves.

        A bound that somebody else has set since ours is the one to put back from now on. A pause
        is noted as if it were in force: to take back one that is not does nothing.
        """
        news = {
            action.target: workload.present
            for action in actions
            if isinstance(action, SetMaxReplicas)
            and (workload := found.workloads.get(action.target)) is not None
            and not is_ours(entry, action.target, workload)
        }
        targets = dict(entry.state.targets)
        for ref in (one.target for one in actions if isinstance(one, PauseScaleOut)):
            targets[ref] = replace(targets.get(ref, TargetState()), paused=True)
        is_known = all(entry.originals.get(ref) == text for ref, text in news.items())
        if is_known and targets == entry.state.targets:
            return True
        entry.originals.update(news)
        meant = replace(entry, state=replace(entry.state, targets=targets))
        return await self._journal.write(entry.config, {**entry.status, **memory_of(meant)})

    def _unshared(
        self, entry: Entry, actions: Iterable[Action], others: Sequence[Entry]
    ) -> tuple[Action, ...]:
        """Without those on objects that another configuration caps, too: they are left to it."""
        kept = []
        for action in actions:
            holder = holder_of(action.target, others) if isinstance(action, _SHARED) else None
            if holder is None:
                kept.append(action)
            elif isinstance(action, _SHARED):
                hand_over(entry, action.target, holder)
        return tuple(kept)

    def _tell(self, entry: Entry, results: Iterable[ActionResult]) -> None:
        """Events and the status' list of actions; what is said again is not told again."""
        for result in results:
            said, words_ = event_of(result), words(result.action)
            subject = words_.partition(":")[0] + said.reason
            again = result.outcome is not Outcome.APPLIED
            if again and entry.told.get(subject) == said.message:
                continue
            entry.told[subject] = said.message
            entry.actions.appendleft(
                {
                    "time": rfc3339(result.now_seconds),
                    "action": words_[:256],
                    "outcome": result.outcome.value,
                    "reason": (result.sentence or result.action.why.sentence)[:1024],
                }
            )
            self._journal.tell(
                entry.config,
                Event(said.type, said.reason, said.message),
                now_seconds=result.now_seconds,
            )
