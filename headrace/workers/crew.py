"""All workers: told together, asked together, ready together."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from headrace.repeating import end_tasks
from headrace.routing import RoutingPlan
from headrace.workers import messages
from headrace.workers.deltas import parts_of
from headrace.workers.layout import plan_of
from headrace.workers.messages import Answer
from headrace.workers.supervised import Supervised
from router.admission.demand import WaitingDemand
from router.explanations import Explained
from router.extproc.hints import HINT_HEADERS
from router.metering.completions import LogEntry
from router.workers.board import Board
from router.workers.joining import hash_seed
from telemetry.fleet_source import FleetView

# A worker that is busy answers within milliseconds; of one that is stuck the last page is told.
_ANSWER_SECONDS = 1.0
# So that at most this much of what a worker had counted is lost when it is killed.
_PAGE_INTERVAL_SECONDS = 5.0


class Crew:
    """The workers of one router.

    Attributes:
        workers: In the order of their numbers.
        board_fd: Of the shared memory.
        environment: Of their processes: hashes of prompts must mean the same in all of them.
        changed: Called when a worker listens.
    """

    def __init__(
        self, plan: RoutingPlan, workers: int, *, log_format: str, level: int, board: Board
    ) -> None:
        """Prepare; nothing is started.

        Args:
            plan: Of all of them together.
            workers: How many.
            log_format: Of their logs, which go where the parent's go.
            level: Of their logs.
            board: Their shared memory.
        """
        self._plan = plan
        self._log_format, self._level = log_format, level
        self._board = board
        self.board_fd = board.fd
        self.environment: Mapping[str, str] = {"PYTHONHASHSEED": hash_seed()}
        self.changed: Callable[[], None] | None = None
        self.workers = tuple(Supervised(index, self) for index in range(workers))
        self._snapshot: FleetSnapshot | None = None
        self._topology: tuple[FleetView, Fleet, Fleet] | None = None
        self._prices: PriceBoard | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all; returns when all listen.

        Raises:
            WorkerStartError: When one cannot. The others are still to be stopped.
        """
        starting = (worker.start() for worker in self.workers)
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            if outcome is not None:
                raise outcome
        self._tasks = [
            asyncio.create_task(worker.keep(), name=f"worker {worker.index}")
            for worker in self.workers
        ]
        self._tasks.append(asyncio.create_task(self._remember(), name="workers' pages"))

    async def stop(self, *, drain_seconds: float) -> None:
        """Drain all at once, then end them."""
        await end_tasks(self._tasks)
        stopping = (worker.stop(drain_seconds=drain_seconds) for worker in self.workers)
        await asyncio.gather(*stopping)
        self._board.close()

    # What is known of them

    @property
    def ready(self) -> bool:
        """Whether one of them takes requests."""
        return any(worker.standing.ready for worker in self.workers)

    def addresses(self) -> list[str]:
        """Where they listen, each once."""
        return list(dict.fromkeys(each for worker in self.workers for each in worker.addresses))

    def waiting(self) -> dict[str, WaitingDemand]:
        """Who waits in any of them, by model."""
        found: dict[str, WaitingDemand] = {}
        for worker in self.workers:
            for model, demand in worker.standing.waiting.items():
                before = found.get(model)
                found[model] = demand if before is None else _together(before, demand)
        return found

    # What they are told

    def publish(
        self, view: FleetView, snapshot: FleetSnapshot, seen: Fleet, prices: PriceBoard
    ) -> None:
        """Tell all of a snapshot; `seen` is the part of its fleet that requests may go to."""
        told = list(self._news(view, snapshot.fleet, seen, prices))
        told += [messages.encode(part) for part in parts_of(snapshot, self._snapshot)]
        self._snapshot = snapshot
        for worker in self.workers:
            if worker.channel is None:
                continue
            if worker.channel.behind:
                worker.spared = True
            elif worker.spared:
                self._tell_all(worker)
            else:
                for content in told:
                    worker.channel.send(content)

    def _tell_all(self, worker: Supervised) -> None:
        worker.spared = False
        if worker.channel is None or self._snapshot is None:
            return
        if self._topology is not None:
            worker.channel.send(messages.encode(messages.news(*self._topology)))
        if self._prices is not None:
            worker.channel.send(messages.encode(messages.prices(self._prices)))
        for part in parts_of(self._snapshot, None):
            worker.channel.send(messages.encode(part))

    def adopt(self, view: FleetView) -> None:
        """Tell all of names, priorities and rewrites; replicas come with the next snapshot."""
        if self._topology is None:
            return  # the first snapshot brings it
        _, fleet, seen = self._topology
        self._topology = view, fleet, seen
        self._send(messages.encode(messages.news(view, fleet, seen)))

    def _send(self, content: bytes) -> None:
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send(content)

    def _news(
        self, view: FleetView, fleet: Fleet, seen: Fleet, prices: PriceBoard
    ) -> Iterable[bytes]:
        before = self._topology
        if before is None or any(
            one is not two for one, two in zip(before, (view, fleet, seen), strict=True)
        ):
            self._topology = view, fleet, seen
            yield messages.encode(messages.news(view, fleet, seen))
        if self._prices is not prices:
            self._prices = prices
            yield messages.encode(messages.prices(prices))

    def logged(self, entry: LogEntry) -> None:
        """Tell all of an access-log entry: only one of them had the request."""
        self._send(messages.encode(messages.Logged([entry])))

    # What they are asked

    async def pages(self) -> None:
        """Bring their tallies up to now."""
        await self._ask(messages.PageWanted)

    async def picks(self, last: int) -> list[dict[str, Any]]:
        """Their last decisions together, newest first."""
        answers = await self._ask(lambda number: messages.PicksWanted(number, last))
        found = [
            {**record, "worker": index}
            for index, answer in enumerate(answers)
            if isinstance(answer, messages.Picks)
            for record in answer.records
        ]
        return sorted(found, key=lambda record: record["age_seconds"])[:last]

    async def explain(self, path: str, headers: Mapping[str, str], body: bytes) -> Explained:
        """Where a request would go and why, as one of them sees it: they know prefixes."""
        told = {name: headers[name] for name in HINT_HEADERS if name in headers}
        for worker in self.workers:
            answer = await _in_time(
                worker, lambda number: messages.ExplanationWanted(number, path, told, body)
            )
            if isinstance(answer, messages.Explanation):
                return Explained(answer.status, answer.body)
        return Explained(503, b'{"error":"No worker takes requests."}')

    async def _ask(self, make: Callable[[int], messages.Wanted]) -> list[Answer | None]:
        return await asyncio.gather(*(_in_time(worker, make) for worker in self.workers))

    async def _remember(self) -> None:
        while True:
            await asyncio.sleep(_PAGE_INTERVAL_SECONDS)
            await self.pages()

    # What its workers ask (headrace.workers.supervised.Crewed)

    def setup(self, index: int, port: int | None) -> bytes:
        """The first message to a worker."""
        plan = plan_of(self._plan, index, len(self.workers), port=port)
        return messages.encode(
            messages.Setup(index, messages.pack(plan), self._log_format, self._level)
        )

    def joined(self, worker: Supervised) -> None:
        """It listens, and knows nothing: tell it everything."""
        self._tell_all(worker)
        if self.changed is not None:
            self.changed()

    def gone(self, worker: Supervised) -> None:
        """Its process has ended: what it had in flight is nobody's any more."""
        self._board.retire(worker.index)


async def _in_time(worker: Supervised, make: Callable[[int], messages.Wanted]) -> Answer | None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await worker.ask(make)
    return None


def _together(one: WaitingDemand, two: WaitingDemand) -> WaitingDemand:
    return WaitingDemand(
        requests=one.requests + two.requests,
        work_tokens=one.work_tokens + two.work_tokens,
        oldest_age_seconds=max(one.oldest_age_seconds, two.oldest_age_seconds),
        has_replica=one.has_replica and two.has_replica,
    )
