"""The capping loop: observe, decide, act; for all configurations of a process together.

What it knows is written down before and after each change (the object's annotation, the
configuration's status), so that it may be killed at any point: the next process takes up from
there. One turn runs at a time; configurations come and go between turns.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from capper.actuators.workloads import Workloads
from capper.advice import Adviser, NoAdviser
from capper.api.files import InvalidConfigError, parse
from capper.decide.loop import decide
from capper.decide.observation import Observation, RouterForecast, TargetReading
from capper.decide.overlap import resolve
from capper.decide.plan import Plan
from capper.draws import draws_of
from capper.external_scaler.allowances import AllowanceBoard, AllowanceHolder
from capper.operator import gpu_clocks
from capper.operator.acting import Actor
from capper.operator.companion import Companion
from capper.operator.doing import Doing
from capper.operator.enrolment import Look, look
from capper.operator.entry import Entry, remembered, skeleton, take_generation
from capper.operator.gpu_clocks import ClockLocks
from capper.operator.grid_side import GridSide
from capper.operator.journal import Journal
from capper.operator.leaving import adopt, orphans_of
from capper.operator.observer import Observer
from capper.operator.prices import fleet_board
from capper.operator.report import Listener, TurnReport
from capper.operator.served import ServedBounds, allowances
from capper.operator.status_writer import StatusWriter
from capper.secret_keys import Secrets
from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.topology import Fleet

_log = logging.getLogger(__name__)
Forecasts = Callable[[], Mapping[str, RouterForecast]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """Pace of the loop.

    Attributes:
        period_seconds: From one turn to the next.
        observe_timeout_seconds: Measurements that take longer are missing in this turn.
        status_seconds: What is not urgent is written to the status this often at most.
    """

    period_seconds: float = 5.0
    observe_timeout_seconds: float = 5.0
    status_seconds: float = 60.0

    @property
    def board_seconds(self) -> float:
        """How long prices and allowances hold when the loop stops: a dead man's switch."""
        return 6.0 * self.period_seconds


@dataclass(frozen=True, slots=True)
class _Turn:
    """One configuration within a turn."""

    entry: Entry
    found: Look
    observation: Observation
    problems: tuple[str, ...]


def _no_forecasts() -> Mapping[str, RouterForecast]:
    return {}


class CappingLoop:
    """All configurations, and the turns over them.

    Attributes:
        reports: The newest by "namespace/name".
        companion: Goes along; None: nobody does.
    """

    def __init__(  # noqa: PLR0913 - the seams to everything around the loop, each named
        self,
        *,
        workloads: Workloads,
        observer: Observer,
        clock: Clock,
        prices: PriceHolder,
        journal: Journal,
        settings: LoopSettings | None = None,
        allowances: AllowanceHolder | None = None,
        clocks: ClockLocks | None = None,
        secrets: Secrets | None = None,
        forecasts: Forecasts = _no_forecasts,
        fleet: Callable[[], Fleet] | None = None,
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        """Connect the loop; nothing happens before `turn`.

        Args:
            workloads: Where replicas are bounded.
            observer: Who measures.
            clock: Epoch time for decisions, monotonic time for expiry.
            prices: What the router reads.
            journal: Where statuses and events go.
            settings: Pace.
            allowances: What the KEDA external scaler reads.
            clocks: Who locks GPU clocks.
            secrets: Where the keys of carbon providers and cooling managers are.
            forecasts: What the router knows, by backend.
            fleet: The router's topology.
            listeners: Told each report.
        """
        self._workloads = workloads
        self._observer = observer
        self._clock = clock
        self._prices = prices
        self._settings = settings or LoopSettings()
        self._statuses = StatusWriter(journal, clock, status_seconds=self._settings.status_seconds)
        self._allowances = allowances
        self._forecasts = forecasts
        self._fleet = fleet
        self._listeners = listeners
        self._entries: dict[str, Entry] = {}
        self.grid = GridSide(clock, secrets, journal)
        self._lock = asyncio.Lock()
        self._clocks = clocks
        self._actor = Actor(workloads, clocks)
        self._doing = Doing(self._actor, journal, clock)
        self.reports: dict[str, TurnReport] = {}
        self.companion: Companion | None = None
        self.adviser: Adviser = NoAdviser()

    async def put(self, document: Mapping[str, Any]) -> None:
        """Take up a new or changed configuration; it is followed from the next turn on.

        Raises:
            InvalidConfigError: It is not valid. The last valid one stays in force.
            RestoreError: Bounds that are to be kept elsewhere from now on could not be put back.
        """
        async with self._lock:
            name = _name_of(document)
            known = self._entries.get(name)
            try:
                config = parse(document)
            except InvalidConfigError as error:
                await self._refuse(known, document, error)
                raise
            entry = known or remembered(config, config.status)
            served = config.spec.external_scaler.enabled
            if known is not None and served != (known.served is not None):
                await self._doing.put_back(known, self._sharing(known))
            if not served:
                entry.served = None
            elif entry.served is None:
                entry.served = ServedBounds(self._workloads, entry.state)
            take_generation(entry, config, known=known is not None)
            self._entries[name] = entry

    async def remove(self, document: Mapping[str, Any]) -> None:
        """Put everything back that a configuration changed, and forget it.

        Raises:
            RestoreError: Something could not be put back; to be tried again.
        """
        async with self._lock:
            name = _name_of(document)
            entry = self._entries.get(name)
            if entry is None:
                try:
                    config = parse(document)
                except InvalidConfigError:
                    config = skeleton(document)
                entry = remembered(config, document.get("status") or {})
                if config.spec.external_scaler.enabled:
                    entry.served = ServedBounds(self._workloads, entry.state)
            await self._doing.put_back(entry, self._sharing(entry))
            if self.companion is not None:
                await self.companion.put_back(entry)
            await self.grid.forget(name)
            self.adviser.forget(name)
            if self._clocks is not None:
                await self._clocks.forget(name)
            self._entries.pop(name, None)
            self._statuses.forget(name)
            last = self.reports.pop(name, None)
            if last is not None:
                self._report(replace(last, state=entry.state, results=(), ended=True))
            self._publish()

    async def aclose(self) -> None:
        """Give back connections; nothing is put back."""
        await self.grid.aclose()
        await self.adviser.aclose()

    async def let_go(self) -> None:
        """A leader's process ends: cooling is left at its safe set-points."""
        async with self._lock:
            await self.grid.cooling.let_go()

    def follows(self, document: Mapping[str, Any]) -> bool:
        """Whether this very object, not one of the same name, is among the configurations."""
        entry = self._entries.get(_name_of(document))
        uid = (document.get("metadata") or {}).get("uid")
        return entry is not None and entry.config.metadata.uid == uid

    def told(self, name: str) -> dict[str, Any]:
        """Conditions and newest actions of "namespace/name", as its status has them."""
        entry = self._entries.get(name)
        if entry is None:
            return {}
        conditions = [
            {key: one.get(key, "") for key in ("type", "status", "reason", "message")}
            for one in entry.status.get("conditions", ())
        ]
        return {"conditions": conditions, "last_actions": [*entry.actions]}

    def entries(self) -> Mapping[str, Entry]:
        """Configurations in force, by "namespace/name"."""
        return self._entries

    def clear(self) -> None:
        """Forget all configurations without touching anything: somebody else leads now."""
        self._entries.clear()
        self._statuses.clear()
        self.reports.clear()

    async def run(self) -> None:
        """Turn for ever."""
        while True:
            started_seconds = self._clock.monotonic_seconds()
            try:
                await self.turn()
            except Exception:  # noqa: BLE001 - supervisor: what is in force stays, the next turn comes
                _log.exception("a turn of the capping loop failed")
            spent_seconds = self._clock.monotonic_seconds() - started_seconds
            await asyncio.sleep(max(0.0, self._settings.period_seconds - spent_seconds))

    async def turn(self) -> tuple[TurnReport, ...]:
        """One turn over all configurations."""
        async with self._lock:
            started_seconds = self._clock.monotonic_seconds()
            turns = await asyncio.gather(*(self._observe(one) for one in self._entries.values()))
            plans = self._decide(turns)
            reports = []
            for one in turns:
                plan = await self.grid.cool(one.entry, plans[one.entry.name])
                plan = gpu_clocks.with_problems(self._clocks, one.entry, plan)
                if self.companion is not None:
                    await self.companion.before_acting(one.entry, one.found.policy, plan)
                results = await self._doing.carry_out(
                    one.entry, one.found, plan, self._sharing(one.entry)
                )
                reports.append(
                    TurnReport(
                        name=one.entry.name,
                        policy=one.found.policy,
                        observation=one.observation,
                        plan=plan,
                        state=one.entry.state,
                        results=results,
                        duration_seconds=self._clock.monotonic_seconds() - started_seconds,
                        carbon=one.entry.carbon,
                        cooling=one.entry.cooling,
                        advice=one.entry.advice,
                    )
                )
                # Each at once: a later one may wait long for an API server that is gone.
                self.reports[one.entry.name] = reports[-1]
                self._publish()
            for one, report in zip(turns, reports, strict=True):
                self._report(report)
                await self._statuses.write(one.entry, one.found, report, one.problems)
            return tuple(reports)

    async def _observe(self, entry: Entry) -> _Turn:
        last = self.reports.get(entry.name)
        await self.grid.look(entry, None if last is None else last.plan)
        found = await look(entry, self._actor.workloads_of(entry))
        adopt(
            entry,
            found.workloads,
            self._sharing(entry),
            now_seconds=self._clock.epoch_seconds(),
        )
        await gpu_clocks.keep(self._clocks, entry, found)
        name = entry.name
        entry.advice = self.adviser.look(name, entry.config, found.policy)
        try:
            async with asyncio.timeout(self._settings.observe_timeout_seconds):
                seen = await self._observer.observe(entry.config, found.policy, found.workloads)
            problems = tuple(self._observer.problems.get(name, ()))
        except TimeoutError:
            seen, problems = Observation(), (f"{name}: measuring took too long.",)
        except Exception:  # noqa: BLE001 - supervisor: an adapter of the user's may raise anything
            _log.exception("measuring for %s failed", name)
            seen, problems = Observation(), (f"{name}: measuring failed, the log says how.",)
        seen = gpu_clocks.with_clocks(self._clocks, entry, self._completed(entry, found, seen))
        return _Turn(entry, found, seen, problems)

    def _completed(self, entry: Entry, found: Look, seen: Observation) -> Observation:
        """With the readings that the observer left out, and what the router knows."""
        forecasts = self._forecasts()
        targets: dict[str, TargetReading] = {}
        for target in found.policy.targets:
            reading = seen.targets.get(target.ref)
            if reading is None and target.ref in found.workloads:
                reading = found.workloads[target.ref].reading
            if reading is not None:
                forecast = forecasts.get(target.backend or "")
                extra = entry.advice.extra_watts.get(target.ref, 0.0)
                targets[target.ref] = replace(reading, forecast=forecast, next_extra_watts=extra)
        return replace(seen, targets=targets)

    def _decide(self, turns: list[_Turn]) -> dict[str, Plan]:
        now_seconds = self._clock.epoch_seconds()
        plans = {}
        for one in turns:
            entry, policy = one.entry, one.found.policy
            orphans = orphans_of(entry, policy)
            plan = decide(
                policy,
                one.observation,
                entry.state,
                now_seconds=now_seconds,
                draws=draws_of(policy, entry.state),
            )
            entry.state = replace(plan.state, targets={**plan.state.targets, **orphans})
            plans[entry.name] = plan
        return resolve(plans)

    def _sharing(self, entry: Entry) -> tuple[Entry, ...]:
        """The other configurations."""
        return tuple(other for other in self._entries.values() if other is not entry)

    def _publish(self) -> None:
        """What router and KEDA read, from what is in force now.

        Nothing while a configuration has had no turn yet, as when another process led before: what
        was published holds on until it expires.
        """
        if self._entries.keys() - self.reports.keys():
            return
        expires = self._clock.monotonic_seconds() + self._settings.board_seconds
        parts = [
            (self.reports[name].policy, entry.state)
            for name, entry in self._entries.items()
            if name in self.reports
        ]
        fleet = None if self._fleet is None else self._fleet()
        self._prices.current = fleet_board(parts, fleet, expires_seconds=expires)
        if self._allowances is not None:
            pairs = [
                (entry.served, self.reports[name])
                for name, entry in self._entries.items()
                if entry.served is not None and name in self.reports
            ]
            board = AllowanceBoard(allowances=allowances(pairs), expires_seconds=expires)
            self._allowances.publish(board)

    def _report(self, report: TurnReport) -> None:
        for listener in self._listeners:
            listener(report)

    async def _refuse(
        self, known: Entry | None, document: Mapping[str, Any], error: InvalidConfigError
    ) -> None:
        entry = known or remembered(skeleton(document), document.get("status") or {})
        entry.problems = tuple(error.problems)
        entry.generation = (document.get("metadata") or {}).get("generation", 1)
        await self._statuses.refuse(entry)


def _name_of(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata") or {}
    return f"{metadata.get('namespace', 'default')}/{metadata.get('name', '')}"
