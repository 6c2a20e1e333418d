"""What parent and workers say to each other. Pure.

Both ends are the same program, so what is rare and nested (settings, topology) goes as a pickle
inside a message; what comes every second (readings) is typed, which costs a twentieth of a pickle
to write and half of one to read.
"""

import pickle
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from fleet.adapters import LoadedAdapters
from fleet.price import PriceBoard
from fleet.signals import Signal, SignalKind
from fleet.topology import Fleet
from headrace.routing import RoutingPlan
from router.admission.demand import WaitingDemand
from router.metering.completions import LogEntry
from router.metering.series import Key, Sums
from telemetry.fleet_source import FleetView

# Down, from the parent


class Setup(msgspec.Struct, tag=True, frozen=True):
    """The first message: who the worker is, and with what it is to be set up."""

    index: int
    plan: bytes
    log_format: str
    log_level: int


class Topology(msgspec.Struct, tag=True, frozen=True):
    """The fleets of the readings that follow, as `FleetNews`."""

    news: bytes


class Readings(msgspec.Struct, tag=True, frozen=True):
    """A part of a snapshot: what has changed since the last one.

    Attributes:
        signals: By address; all signals of a replica of which any has changed.
        gone: Addresses of which nothing is known any more.
        adapters: Likewise of adapters; None says that nothing is known any more.
        restarts: All of them.
        published_seconds: Of the snapshot.
        version: Of the snapshot.
        last: Whether the snapshot is whole with this part.
    """

    signals: dict[str, dict[SignalKind, Signal]]
    gone: list[str]
    adapters: dict[str, LoadedAdapters | None]
    restarts: dict[str, int]
    published_seconds: float
    version: int
    last: bool


class Prices(msgspec.Struct, tag=True, frozen=True):
    """The capper's newest board."""

    board: PriceBoard


class PageWanted(msgspec.Struct, tag=True, frozen=True):
    """Tell what you have counted."""

    number: int


class PicksWanted(msgspec.Struct, tag=True, frozen=True):
    """Tell your last decisions."""

    number: int
    last: int


class ExplanationWanted(msgspec.Struct, tag=True, frozen=True):
    """Say where this request would go."""

    number: int
    path: str
    headers: dict[str, str]
    body: bytes


class Logged(msgspec.Struct, tag=True, frozen=True):
    """Access-log entries; they end the requests that are yours."""

    entries: list[LogEntry]


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Drain and end."""


Wanted = PageWanted | PicksWanted | ExplanationWanted
Down = Setup | Topology | Readings | Prices | Wanted | Logged | Stop

# Up, from a worker


class Listening(msgspec.Struct, tag=True, frozen=True):
    """The ports are open."""

    addresses: list[str]
    port: int | None


class Refused(msgspec.Struct, tag=True, frozen=True):
    """They cannot be; the worker ends."""

    sentence: str


class Standing(msgspec.Struct, tag=True, frozen=True):
    """A sign of life.

    Attributes:
        ready: Whether it takes requests.
        version: Of the snapshot that it decides on; 0 before the first.
        own: Requests in flight that it answers for.
        known: Requests in flight of all workers, as its ledger has them.
        waiting: Who waits in it, by model.
    """

    ready: bool
    version: int
    own: int
    known: int
    waiting: dict[str, WaitingDemand]


class Sample(NamedTuple):
    """One line of a metrics page."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with its samples."""

    name: str
    documentation: str
    type: str
    samples: list[Sample]


class Page(msgspec.Struct, tag=True, frozen=True):
    """What a worker has counted.

    Attributes:
        number: Of the question; 0 of the last page of a worker that ends.
        families: Those that workers tell.
        entered: Own requests entered in the ledger.
        settled: Own requests settled.
        matched: Access-log entries that ended a request.
        expired: Requests whose entry did not come.
        series: Sums of ended requests, as `dict[Key, Sums]`.
    """

    number: int
    families: list[Family]
    entered: int
    settled: int
    matched: int
    expired: int
    series: bytes


class Picks(msgspec.Struct, tag=True, frozen=True):
    """Last decisions, newest first, as plain values with their ages."""

    number: int
    records: list[dict[str, Any]]


class Explanation(msgspec.Struct, tag=True, frozen=True):
    """As router.explanations.Explained."""

    number: int
    status: int
    body: bytes


Answer = Page | Picks | Explanation
Up = Listening | Refused | Standing | Answer


class FleetNews(NamedTuple):
    """What `Topology` holds.

    Attributes:
        view: Names, priorities and rewrites.
        fleet: Of the snapshots that follow.
        seen: What requests may go to: without replicas that sleep; often the same object.
    """

    view: FleetView
    fleet: Fleet
    seen: Fleet


def news(view: FleetView, fleet: Fleet, seen: Fleet) -> Topology:
    """Of a view what requests ask for, in plain mappings: others cannot be pickled."""
    lean = FleetView(
        fleet=view.fleet,
        served={},
        priorities=dict(view.priorities),
        rewrites=view.rewrites,
        absent_models=view.absent_models,
    )
    return Topology(pack(FleetNews(lean, fleet, seen)))


def prices(board: PriceBoard) -> Prices:
    """A board as it can be written."""
    return Prices(replace(board, ratios=dict(board.ratios)))


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_down = msgspec.msgpack.Decoder(Down).decode
decode_up = msgspec.msgpack.Decoder(Up).decode


def pack(content: RoutingPlan | FleetNews | dict[Key, Sums]) -> bytes:
    """As the messages carry it."""
    return pickle.dumps(content, pickle.HIGHEST_PROTOCOL)


def unpack_plan(content: bytes) -> RoutingPlan:
    """Of a `Setup`."""
    plan: RoutingPlan = _unpack(content)
    return plan


def unpack_news(content: bytes) -> FleetNews:
    """Of a `Topology`."""
    news: FleetNews = _unpack(content)
    return news


def unpack_series(content: bytes) -> dict[Key, Sums]:
    """Of a `Page`."""
    series: dict[Key, Sums] = _unpack(content)
    return series


def _unpack(content: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202 - its callers say what it is
    return pickle.loads(content)  # noqa: S301 - from our own parent or child, over an inherited socket
