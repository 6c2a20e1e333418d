"""One worker: answers Envoy on its own socket, told of everything else by the parent."""

import asyncio
import logging
from dataclasses import replace

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.repeating import end_tasks, start_repeating
from headrace.routing import COMMIT_INTERVAL_SECONDS, Routing
from headrace.workers import messages
from headrace.workers.channel import Channel
from headrace.workers.deltas import Whole
from headrace.workers.families import told
from headrace.workers.mirror_metrics import MirrorCollector
from router.explanations import explained
from router.extproc.health import Readiness
from router.extproc.listening import ListenError
from router.kv_event_settings import KvEventsUnavailableError
from router.tracing import TracingUnavailableError
from router.workers.board import Board
from router.workers.joining import TICK_SECONDS, join

_log = logging.getLogger(__name__)

_STANDING_SECONDS = 0.25


class Worker:
    """A running worker."""

    def __init__(self, setup: messages.Setup, board: Board, channel: Channel, clock: Clock) -> None:
        """Put the parts together and join the others' ledger; nothing is opened.

        Raises:
            KvEventsUnavailableError: When they are wanted and their extra is not installed.
            TracingUnavailableError: Likewise.
        """
        self._channel = channel
        self._clock = clock
        self._registry = CollectorRegistry()
        empty = self._fleet = self._seen = Fleet(())
        self._whole = Whole()
        self._prices = PriceHolder()
        self._snapshots = SnapshotHolder(
            FleetSnapshot(fleet=empty, published_seconds=clock.monotonic_seconds())
        )
        self._readiness = Readiness(self._snapshots)
        self._routing = Routing(
            messages.unpack_plan(setup.plan),
            empty,
            snapshots=self._snapshots,
            readiness=self._readiness,
            clock=clock,
            registry=self._registry,
        )
        self._mirror = join(board, setup.index, self._routing.picker)
        self._registry.register(MirrorCollector(self._mirror))
        self._telling: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, by a signal or by the parent, or the parent is gone."""
        following = asyncio.create_task(self._follow(stop), name="channel")
        try:
            await self._routing.ext_proc.start()
        except ListenError as error:
            self._tell(messages.Refused(str(error)))
            following.cancel()
            await self._routing.aclose()
            return
        ext_proc = self._routing.ext_proc
        self._tell(messages.Listening(list(ext_proc.addresses()), ext_proc.port))
        tasks = start_repeating(
            (self._catch_up, TICK_SECONDS),
            (self._routing.commit, COMMIT_INTERVAL_SECONDS),
            (self._stand, _STANDING_SECONDS),
        )
        await stop.wait()
        self._readiness.drain()
        self._stand()
        await self._routing.stop()
        await end_tasks((following, *tasks))
        # What was counted is said once nothing more is to be counted.
        self._mirror.leave()
        await self._tell_page(0)
        await self._routing.aclose()

    # What the parent says

    async def _follow(self, stop: asyncio.Event) -> None:
        """Do what the parent says. It does not outlive the parent."""
        async for content in self._channel.messages():
            try:
                self._take(messages.decode_down(content), stop)
            except Exception:  # noqa: BLE001 - supervisor: one message must not end those that follow
                _log.exception("a message of the parent was not followed")
        stop.set()

    def _take(self, message: messages.Down, stop: asyncio.Event) -> None:
        match message:
            case messages.Readings():
                self._read(message)
            case messages.Topology():
                news = messages.unpack_news(message.news)
                self._fleet, self._seen = news.fleet, news.seen
                self._routing.adopt(news.view)
            case messages.Prices():
                self._prices.current = message.board
            case messages.PageWanted() | messages.PicksWanted() | messages.ExplanationWanted():
                self._answer(message)
            case messages.Logged():
                self._end_logged(message)
            case messages.Stop():
                stop.set()

    def _answer(self, message: messages.Wanted) -> None:
        match message:
            case messages.PageWanted():
                telling = asyncio.create_task(self._tell_page(message.number))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)
            case messages.PicksWanted():
                self._tell(self._picks(message))
            case messages.ExplanationWanted():
                self._tell(self._explanation(message))

    def _read(self, part: messages.Readings) -> None:
        snapshot = self._whole.add(part, self._fleet)
        if snapshot is not None:
            self._snapshots.current = snapshot
            all_serve = self._seen is self._fleet
            seen = snapshot if all_serve else replace(snapshot, fleet=self._seen)
            self._routing.observe(snapshot, seen, self._prices.current)

    def _end_logged(self, message: messages.Logged) -> None:
        """Every worker gets every entry; only the one whose request it was takes it."""
        metering, now_seconds = self._routing.metering, self._clock.monotonic_seconds()
        for entry in message.entries:
            known = metering.recorder.ticket_of(entry.request_id) is not None
            if known and metering.completions is not None:
                metering.completions.logged(entry, now_seconds=now_seconds)

    # What is said to the parent

    def _tell(self, message: messages.Up) -> None:
        self._channel.send(messages.encode(message))

    def _stand(self) -> None:
        ready = self._readiness.why_not() is None
        known = self._routing.picker.ledger.running()
        waiting = self._routing.admission.waiting()
        own, version = known - self._mirror.open, self._snapshots.current.version
        self._tell(messages.Standing(ready, version, own, known, waiting))

    async def _tell_page(self, number: int) -> None:
        """Metrics of a large fleet take some milliseconds: others have their turn in between."""
        families = []
        for metric in self._registry.collect():
            family = told(metric)
            if family is not None:
                families.append(family)
            await asyncio.sleep(0)
        self._tell(self._page(number, families))

    def _page(self, number: int, families: list[messages.Family]) -> messages.Page:
        ledger, mirror = self._routing.picker.ledger, self._mirror
        completions = self._routing.metering.completions
        return messages.Page(
            number=number,
            families=families,
            entered=ledger.entered_total - mirror.foreign_entered_total,
            settled=ledger.settled_total - mirror.foreign_settled_total,
            matched=0 if completions is None else completions.matched,
            expired=0 if completions is None else completions.expired,
            series=messages.pack(dict(self._routing.metering.series)),
        )

    def _picks(self, message: messages.PicksWanted) -> messages.Picks:
        now_seconds = self._clock.monotonic_seconds()
        records = self._routing.picks.last(message.last)
        return messages.Picks(
            message.number, [record.to_dict(now_seconds=now_seconds) for record in records]
        )

    def _explanation(self, message: messages.ExplanationWanted) -> messages.Explanation:
        answer = explained(
            self._routing.picks,
            path=message.path,
            headers=message.headers,
            body=message.body,
            now_seconds=self._clock.monotonic_seconds(),
        )
        return messages.Explanation(message.number, answer.status, answer.body)

    # What it does by itself

    def _catch_up(self) -> None:
        self._mirror.tick(now_seconds=self._clock.monotonic_seconds())


async def serve(
    channel: Channel, board: Board, setup: messages.Setup, clock: Clock, stop: asyncio.Event
) -> None:
    """Be a worker until `stop` is set; what cannot be had is told to the parent."""
    try:
        worker = Worker(setup, board, channel, clock)
    except (KvEventsUnavailableError, TracingUnavailableError) as error:
        channel.send(messages.encode(messages.Refused(str(error))))
    else:
        await worker.run(stop)
    await channel.aclose()
