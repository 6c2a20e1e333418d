"""Which replica a sample belongs to, and one reading from all samples of a replica."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleet.signals import SignalKind
from fleet.topology import Fleet, Replica
from telemetry.families import Family, kv_cache_capacity_tokens
from telemetry.kinds import RULES, Combine, Rule, insanity
from telemetry.reading import Reading, RejectionReason


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


class Sample(NamedTuple):
    """One value as an exporter gave it, before scaling.

    Attributes:
        family: What it is.
        labels: All its labels.
        value: May be anything.
        observed_seconds: Monotonic time of the measurement.
    """

    family: Family
    labels: Mapping[str, str]
    value: float
    observed_seconds: float


_ALONE = frozenset({"itself"})


class Attribution(NamedTuple):
    """Readings of known replicas, and what had to be dropped."""

    readings: tuple[Reading, ...]
    rejected: Mapping[tuple[SignalKind, RejectionReason], int]


class _Part(NamedTuple):
    """The best sample of one board or engine: its value, or why it has none."""

    value: float
    observed_seconds: float
    insanity: RejectionReason | None


class _PartKey(NamedTuple):
    """What a part of a replica is: a board, or one engine or container of it, or all of it."""

    board: str = ""
    board_index: str = ""
    partition: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it speaks of no single board."""
        return not (self.board or self.board_index)


class FleetIndex:
    """Replicas by address, by board and by pod name."""

    def __init__(self, fleet: Fleet, names: LabelNames) -> None:
        """Index `fleet`; O(replicas)."""
        self.fleet = fleet
        self.names = names
        self.replicas: dict[str, Replica] = {}
        self.boards_per_replica: dict[str, int] = {}
        self._by_board: defaultdict[str, list[str]] = defaultdict(list)
        self._by_pod_name: defaultdict[str, list[Replica]] = defaultdict(list)
        for backend in fleet.backends:
            for replica in backend.replicas:
                self.replicas[replica.address] = replica
                self.boards_per_replica[replica.address] = backend.gpus_per_replica
                for uuid in replica.gpu_uuids:
                    self._by_board[uuid].append(replica.address)
                if replica.pod is not None:
                    self._by_pod_name[replica.pod].append(replica)

    def owners(self, sample: Sample) -> Sequence[str]:
        """Addresses of the replicas a sample speaks of; several share a board, none is usual."""
        if not RULES[sample.family.kind].boards:
            return self._by_address(sample.labels) or self._by_pod(sample.labels)
        board = _first(sample.labels, self.names.board)
        if board in self._by_board:
            return self._by_board[board]
        found = self._by_pod(sample.labels) or self._by_address(sample.labels)
        if board and found and self.replicas[found[0]].gpu_uuids:
            return ()  # a board it did not declare: the declaration wins over the pod
        return found

    def _by_address(self, labels: Mapping[str, str]) -> Sequence[str]:
        address = _first(labels, self.names.address)
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


def attribute(samples: Iterable[Sample], index: FleetIndex) -> Attribution:
    """One reading per replica and kind, from everything one round brought.

    Samples of other workloads are ignored. A reading with a bad or missing part is unknown rather
    than partial: half of a replica's watts would look like headroom.
    """
    groups: defaultdict[
        tuple[str, SignalKind], defaultdict[int, defaultdict[_PartKey, list[_Part]]]
    ] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    sharers: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        family, owners = sample.family, index.owners(sample)
        key = _part_key(sample, index.names)
        for address in owners:
            boards = index.boards_per_replica[address] if key.is_whole else 1
            groups[address, family.kind][family.rank][key].append(_part(sample, boards=boards))
            if key.board:
                sharers[key.board].add(address)

    readings: list[Reading] = []
    rejected: Counter[tuple[SignalKind, RejectionReason]] = Counter()
    for (address, kind), by_rank in groups.items():
        reading = _first_complete(address, kind, by_rank, index, sharers)
        if isinstance(reading, Reading):
            readings.append(reading)
        else:
            rejected[kind, reading] += 1
    return Attribution(tuple(readings), rejected)


def _first_complete(
    address: str,
    kind: SignalKind,
    by_rank: Mapping[int, Mapping[_PartKey, Sequence[_Part]]],
    index: FleetIndex,
    sharers: Mapping[str, set[str]],
) -> Reading | RejectionReason:
    """The reading of the most trusted family that has all parts, else what its first one lacks."""
    trouble: RejectionReason | None = None
    for _, duplicates in sorted(by_rank.items()):
        parts = {key: _best(samples) for key, samples in duplicates.items()}
        reason = _incompleteness(address, parts, RULES[kind], index)
        if reason is None:
            shares = {key: len(sharers.get(key.board, _ALONE)) for key in parts}
            combined = _combine(parts, shares, RULES[kind])
            if combined is not None:
                oldest_seconds = min(part.observed_seconds for part in parts.values())
                return Reading(address, kind, combined, oldest_seconds, _origin(shares))
            reason = RejectionReason.DISAGREE
        trouble = trouble or reason
    assert trouble is not None, "a group has at least one sample"
    return trouble


def _incompleteness(
    address: str, parts: Mapping[_PartKey, _Part], rule: Rule, index: FleetIndex
) -> RejectionReason | None:
    for part in parts.values():
        if part.insanity is not None:
            return part.insanity
    if not rule.boards or any(key.is_whole for key in parts):
        return None
    if declared := index.replicas[address].gpu_uuids:
        complete = {key.board for key in parts}.issuperset(declared)
    else:
        complete = len({key[:2] for key in parts}) >= index.boards_per_replica[address]
    return None if complete else RejectionReason.INCOMPLETE_BOARDS


def _combine(
    parts: Mapping[_PartKey, _Part], shares: Mapping[_PartKey, int], rule: Rule
) -> float | None:
    """One value of all parts; None when they should agree and do not."""
    if rule.divisible:
        # Replicas on one board share its watts equally, so that the fleet's sum stays the truth.
        values = [part.value / shares[key] for key, part in parts.items()]
    else:
        values = [part.value for part in parts.values()]
    match rule.combine:
        case Combine.SUM:
            return sum(values)
        case Combine.MIN:
            return min(values)
        case Combine.MAX:
            return max(values)
        case Combine.AGREE:
            return values[0] if len(set(values)) == 1 else None


def _best(duplicates: Sequence[_Part]) -> _Part:
    """Of several samples of one part: a sane one, the freshest, the largest."""
    return max(
        duplicates, key=lambda part: (part.insanity is None, part.observed_seconds, part.value)
    )


def _part(sample: Sample, *, boards: int) -> _Part:
    family = sample.family
    raw = kv_cache_capacity_tokens(sample.labels) if family.in_labels else sample.value
    if raw is None:
        return _Part(0.0, sample.observed_seconds, RejectionReason.MALFORMED)
    rule, value = RULES[family.kind], raw * family.scale
    upper = rule.upper * boards if rule.boards else rule.upper
    return _Part(value, sample.observed_seconds, insanity(value, upper=upper))


def _part_key(sample: Sample, names: LabelNames) -> _PartKey:
    family, labels = sample.family, sample.labels
    partition = tuple(labels.get(label, "") for label in family.partition)
    if not RULES[family.kind].boards:
        return _PartKey(partition=partition)
    if board := _first(labels, names.board):
        return _PartKey(board, "", partition)
    return _PartKey("", _first(labels, names.board_index), partition)


def _origin(shares: Mapping[_PartKey, int]) -> tuple[str, ...]:
    """Changes when a board or engine is added, lost or shared with one more replica."""
    return tuple(
        sorted(
            "/".join((key.board, key.board_index, *key.partition, str(n)))
            for key, n in shares.items()
        )
    )


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((value for name in names if (value := labels.get(name))), "")
