"""Whose a sample is: replicas by address, by board and by pod."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from fleet.topology import Fleet, Replica
from telemetry.families import Family
from telemetry.kinds import RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNames:
    """Where samples name their replica.

    Attributes:
        address: Labels that may hold "ip:port" of the replica itself.
        pods: (pod label, its namespace labels), the first present one counts. A scrape with
            `honorLabels: false` moves the workload to `exported_*` and puts the exporter's own pod
            into `pod`; Kepler <= 0.9 names the workload `pod_name` beside the exporter's `pod`.
        board: Labels that identify an accelerator board in the whole fleet.
        board_index: Labels that tell the boards of one host apart when `board` is missing.
    """

    address: tuple[str, ...] = ("instance",)
    pods: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("exported_pod", ("exported_namespace", "namespace")),
        ("pod_name", ("pod_namespace", "container_namespace", "namespace")),
        ("pod", ("namespace",)),
    )
    board: tuple[str, ...] = ("UUID", "gpu_uuid", "serial_number")
    board_index: tuple[str, ...] = ("gpu", "gpu_id")


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One value as an exporter gave it, before scaling.

    A struct, since ten thousand are made per second: made in a third of a named tuple's time, and
    nothing of it for the garbage collector to look at.

    Attributes:
        family: What it is.
        labels: All its labels.
        value: May be anything.
        observed_seconds: Monotonic time of the measurement.
        address: Of the replica that gave it; None: the labels tell whose it is.
    """

    family: Family
    labels: Mapping[str, str]
    value: float
    observed_seconds: float
    address: str | None = None


class PartKey(NamedTuple):
    """What a part of a replica is: a board, or one engine or container of it, or all of it."""

    board: str = ""
    board_index: str = ""
    partition: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it speaks of no single board."""
        return not (self.board or self.board_index)


class Place(NamedTuple):
    """Where the samples of one series belong.

    Attributes:
        labels: Of the series; held, so that their identity stays theirs.
        family: Likewise.
        owners: Addresses of the replicas that they speak of; None: of the one that gave them,
            whichever it is, so that replicas with the same series share one place.
        key: Of which part of them.
        origin: Of a reading that is this part alone, shared by nobody.
        is_whole: Whether the part is no single board.
    """

    labels: Mapping[str, str]
    family: Family
    owners: Sequence[str] | None
    key: PartKey
    origin: tuple[str, ...]
    is_whole: bool


class FleetIndex:
    """Replicas by address, by board and by pod name; remembers where series belong.

    Sources give the same labels object for the same series in every round: where it belongs is
    looked up by that object, not by what is in it.
    """

    # Several times what a large fleet has; labels that are new every time must not fill memory.
    _REMEMBERED_SERIES = 262144

    def __init__(self, fleet: Fleet, names: LabelNames) -> None:
        """Index `fleet`; O(replicas)."""
        self.fleet = fleet
        self.names = names
        self.replicas: dict[str, Replica] = {}
        self.boards_per_replica: dict[str, int] = {}
        self._by_board: defaultdict[str, list[str]] = defaultdict(list)
        self._by_pod_name: defaultdict[str, list[Replica]] = defaultdict(list)
        self._places: dict[tuple[int, int, str | None, bool], Place] = {}
        for backend in fleet.backends:
            for replica in backend.replicas:
                self.replicas[replica.address] = replica
                self.boards_per_replica[replica.address] = backend.gpus_per_replica
                for uuid in replica.gpu_uuids:
                    self._by_board[uuid].append(replica.address)
                if replica.pod is not None:
                    self._by_pod_name[replica.pod].append(replica)

    def place(self, sample: Sample) -> Place:
        """Where a sample belongs."""
        labels, family, address = sample.labels, sample.family, sample.address
        own = address in self.replicas and not RULES[family.kind].boards
        seen_at = (id(labels), id(family), None if own else address, own)
        place = self._places.get(seen_at)
        if place is None or place.labels is not labels or place.family is not family:
            key = _part_key(sample, self.names)
            owners = None if own else self.owners(sample)
            place = Place(labels, family, owners, key, origin_of({key: 1}), key.is_whole)
            if len(self._places) >= self._REMEMBERED_SERIES:
                self._places.clear()
            self._places[seen_at] = place
        return place

    def owners(self, sample: Sample) -> Sequence[str]:
        """Addresses of the replicas a sample speaks of; several share a board, none is usual."""
        if not RULES[sample.family.kind].boards:
            return self._by_address(sample) or self._by_pod(sample.labels)
        board = _first(sample.labels, self.names.board)
        if board in self._by_board:
            return self._by_board[board]
        found = self._by_pod(sample.labels) or self._by_address(sample)
        if board and found and self.replicas[found[0]].gpu_uuids:
            return ()  # a board it did not declare: the declaration wins over the pod
        return found

    def _by_address(self, sample: Sample) -> Sequence[str]:
        address = sample.address or _first(sample.labels, self.names.address)
        return (address,) if address in self.replicas else ()

    def _by_pod(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The only replica of the pod; of two engines in one pod neither is guessed."""
        for pod_label, namespace_labels in self.names.pods:
            if pod := labels.get(pod_label):
                namespace = _first(labels, namespace_labels)
                found = [
                    replica.address
                    for replica in self._by_pod_name.get(pod, ())
                    if not namespace or replica.namespace in (None, namespace)
                ]
                return found if len(found) == 1 else ()
        return ()


def _part_key(sample: Sample, names: LabelNames) -> PartKey:
    family, labels = sample.family, sample.labels
    partition = tuple(labels.get(label, "") for label in family.partition)
    if not RULES[family.kind].boards:
        return PartKey(partition=partition)
    if board := _first(labels, names.board):
        return PartKey(board, "", partition)
    return PartKey("", _first(labels, names.board_index), partition)


def origin_of(shares: Mapping[PartKey, int]) -> tuple[str, ...]:
    """Changes when a board or engine is added, lost or shared with one more replica."""
    return tuple(
        sorted(
            "/".join((key.board, key.board_index, *key.partition, str(n)))
            for key, n in shares.items()
        )
    )


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((value for name in names if (value := labels.get(name))), "")
