"""A picker in a steady state, for `headrace bench decide` and the counts that CI compares."""

import random
from collections.abc import Iterator, Mapping

from fleet.adapters import LoadedAdapters
from fleet.price import PriceBoard
from fleet.priors import prior_profile
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Backend, Fleet, Replica
from headrace.bench.decide_arms import ADAPTERS, ARMS, MODEL
from router.decide.ledger import Ticket
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.request_facts import NO_HINTS, RequestFacts
from router.decide.settings import DecideSettings
from telemetry.assembly import Assembly
from telemetry.counters import RateWindow
from telemetry.reading import Reading, SourceReport

RUNNING_PER_REPLICA = 8

_ACCELERATORS = ("A100", "H100", "B200")
_REQUEST_SECONDS = 8.0
_ANSWER_TOKENS = 250.0
_PAST_SECONDS = 120.0
_ADAPTERS_AT_WORK = 4
_ADAPTER_SLOTS = 6
_PARAMETERS = 8e9
_SEED = 7


class Steady:
    """A picker in a steady state: as many requests end as begin."""

    def __init__(self, fleet: Fleet, policy: str, arm: str = "plain") -> None:
        """Fill the fleet with an arm's requests and let the picker choose its set."""
        self._fleet = fleet
        self._arm = arm
        self._picker = Picker(fleet, DecideSettings(policy=policy))
        self._draws = random.Random(_SEED)  # noqa: S311 - a repeatable load, no secret
        addresses = [replica.address for replica in fleet.replicas()]
        self.in_flight = len(addresses) * RUNNING_PER_REPLICA
        self._requests = ARMS[arm](self._draws, addresses, self.in_flight)
        self._gap_seconds = _REQUEST_SECONDS / self.in_flight
        self._running: list[Ticket] = []
        self._now_seconds = 0.0
        self._prompt_tokens = 0.0
        self.observe(self.snapshot())
        self._now_seconds = _PAST_SECONDS  # of counters that say how long answers are
        self.observe(self.snapshot())
        self.commit()
        for _ in range(2 * self.in_flight):
            self.pick(self.request(), self._draws.random())
            if len(self._running) > self.in_flight:
                self.settle()
        self.observe(self.snapshot())
        self.commit()

    def request(self) -> RequestFacts:
        """The next request."""
        return next(self._requests)

    def pick(self, facts: RequestFacts, draw: float) -> None:
        """A request begins."""
        self._now_seconds += self._gap_seconds
        picked = self._picker.pick(facts, now_seconds=self._now_seconds, draw=draw)
        if not isinstance(picked, Pick):
            raise TypeError(f"a request was refused in the steady state: {picked.message}")
        self._running.append(picked.ticket)

    def settle(self) -> None:
        """A request ends."""
        # By chance: if the oldest ended, a replica's would end together, as if it had stalled.
        index = int(self._draws.random() * len(self._running))
        self._running[index], self._running[-1] = self._running[-1], self._running[index]
        self._picker.settle(self._running.pop(), now_seconds=self._now_seconds)

    def running(self) -> int:
        """Requests that have begun and not ended."""
        return len(self._running)

    def pass_on(self, draw: float) -> None:
        """A request without a prompt asks where to go."""
        self._picker.pass_on(NO_HINTS, now_seconds=self._now_seconds, draw=draw)

    def draw(self) -> float:
        """A number drawn uniformly from [0, 1)."""
        return self._draws.random()

    def observe(self, snapshot: FleetSnapshot) -> None:
        """Take in a snapshot."""
        self._picker.observe(snapshot, PriceBoard(), now_seconds=self._now_seconds)

    def observing(self, snapshot: FleetSnapshot) -> Iterator[None]:
        """The same in steps."""
        return self._picker.observing(snapshot, PriceBoard(), now_seconds=self._now_seconds)

    def commit(self) -> None:
        """A second is over."""
        self._picker.commit(now_seconds=self._now_seconds)

    def snapshot(self) -> FleetSnapshot:
        """What a scrape shows now."""
        assembly = Assembly(self._fleet, RateWindow())
        running = {it.address: float(it.account.running) for it in self._picker.units()}
        report = report_of(
            self._fleet,
            self._now_seconds,
            running,
            adapters=ADAPTERS[:_ADAPTERS_AT_WORK] if self._arm == "adapters" else (),
            is_half_cached=self._arm == "distrusted",
        )
        assembly.absorb("scrape", report, collected_for=self._fleet)
        return assembly.snapshot(now_seconds=self._now_seconds, version=1)


def fleet_of(size: int, arm: str = "plain") -> Fleet:
    """Accelerators in equal parts, as many as fit."""
    models = (MODEL, *ADAPTERS) if arm == "adapters" else (MODEL,)
    backends = []
    for number, accelerator in enumerate(_ACCELERATORS):
        name = accelerator.lower()
        replicas = tuple(
            Replica(
                address=f"10.{number}.{index // 250}.{index % 250 + 1}:8000",
                backend=name,
                models=models,
            )
            for index in range(number, size, len(_ACCELERATORS))
        )
        backends.append(
            Backend(
                name=name,
                accelerator=accelerator,
                parameters=_PARAMETERS,
                profile=prior_profile(accelerator, parameters=_PARAMETERS),
                replicas=replicas,
            )
        )
    return Fleet(tuple(backends))


def report_of(
    fleet: Fleet,
    now_seconds: float,
    running: Mapping[str, float],
    *,
    adapters: tuple[str, ...] = (),
    is_half_cached: bool = False,
) -> SourceReport:
    """Seven signals of every replica, as a scrape of vLLM and DCGM brings them.

    Args:
        fleet: Its replicas.
        now_seconds: When.
        running: Requests by address.
        adapters: Loaded on every replica.
        is_half_cached: Whether engines tell that half of all prompt tokens were cached; else they
            tell nothing of their caches.
    """
    finished = RUNNING_PER_REPLICA / _REQUEST_SECONDS * now_seconds
    values = {
        SignalKind.HEALTHY_RATIO: 1.0,
        SignalKind.WAITING_REQUESTS: 0.0,
        SignalKind.KV_USAGE_RATIO: 0.1,
        SignalKind.POWER_WATTS: 400.0,
        SignalKind.GENERATION_TOKENS_TOTAL: _ANSWER_TOKENS * finished,
        SignalKind.REQUESTS_FINISHED_TOTAL: finished,
    }
    if is_half_cached:
        queried = 1e6 * finished
        values[SignalKind.PREFIX_QUERY_TOKENS_TOTAL] = queried
        values[SignalKind.PREFIX_HIT_TOKENS_TOTAL] = 0.5 * queried
    names = frozenset(adapters)
    return SourceReport(
        readings=tuple(
            Reading(replica.address, kind, value, now_seconds)
            for replica in fleet.replicas()
            for kind, value in {
                **values,
                SignalKind.RUNNING_REQUESTS: running[replica.address],
            }.items()
        ),
        adapters={
            replica.address: LoadedAdapters(names, frozenset(), _ADAPTER_SLOTS, now_seconds)
            for replica in fleet.replicas()
            if names
        },
    )
