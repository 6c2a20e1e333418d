"""One reading from all samples of a replica."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fleet.signals import SignalKind
from telemetry.families import kv_cache_capacity_tokens
from telemetry.fleet_index import FleetIndex, PartKey, Place, Sample, origin_of
from telemetry.kinds import RULES, Combine, Rule, insanity
from telemetry.reading import Reading, RejectionReason

_ALONE = frozenset({"itself"})


class _Part(NamedTuple):
    """The best sample of one board or engine: its value, or why it has none."""

    value: float
    observed_seconds: float
    insanity: RejectionReason | None


# A sample in its group: rank of its family, where it belongs, when it was measured, its value and
# the largest believable one. Plain, since a large fleet makes ten thousand a second.
_Member = tuple[int, Place, float, float | None, float]


class Grouping:
    """The samples of one round, by what they are to become; taken in and given out in steps.

    One reading per replica and kind comes of everything that was added. Samples of other workloads
    are ignored. A reading with a bad or missing part is unknown rather than partial: half of a
    replica's watts would look like headroom.

    Attributes:
        rejected: How many readings could not be made, by kind and reason.
    """

    def __init__(self, index: FleetIndex) -> None:
        """Start empty."""
        self.rejected: Counter[tuple[SignalKind, RejectionReason]] = Counter()
        self._index = index
        # The first sample of each group, and of those that have more the others.
        self._first: dict[SignalKind, dict[str, _Member]] = {}
        self._further: defaultdict[tuple[SignalKind, str], list[_Member]] = defaultdict(list)
        self._sharers: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, samples: Iterable[Sample]) -> None:
        """Take samples in, in any order."""
        groups, index = self._first, self._index
        for sample in samples:
            place, family = index.place(sample), sample.family
            kind = family.kind
            by_address = groups.get(kind)
            if by_address is None:
                by_address = groups[kind] = {}
            value, owners = _value(sample), place.owners
            if owners is None:
                assert sample.address is not None, "the place is that of a replica's own samples"
                owners = (sample.address,)
            for address in owners:
                upper = _upper(kind, index.boards_per_replica[address] if place.is_whole else 1)
                member = (family.rank, place, sample.observed_seconds, value, upper)
                if by_address.setdefault(address, member) is not member:
                    self._further[kind, address].append(member)
                if place.key.board:
                    self._sharers[place.key.board].add(address)

    def readings(self) -> Iterator[Reading]:
        """All readings; what they lack is counted in `rejected` on the way."""
        for kind, by_address in self._first.items():
            boards = RULES[kind].boards
            for address, first in by_address.items():
                _, place, observed_seconds, value, upper = first
                further = self._further.get((kind, address), ())
                if (
                    not further
                    and value is not None
                    and 0.0 <= value <= upper
                    and (not boards or self._is_all_of(address, place))
                ):
                    yield Reading(address, kind, value, observed_seconds, place.origin)
                    continue
                reading = self._combined(address, kind, (first, *further))
                if isinstance(reading, Reading):
                    yield reading
                else:
                    self.rejected[kind, reading] += 1

    def _is_all_of(self, address: str, place: Place) -> bool:
        """Whether a replica has the board of `place` and no other, and has it for itself."""
        board = place.key.board
        declared = self._index.replicas[address].gpu_uuids
        return declared == (board,) and len(self._sharers[board]) == 1

    def _combined(
        self, address: str, kind: SignalKind, members: Sequence[_Member]
    ) -> Reading | RejectionReason:
        by_rank: dict[int, dict[PartKey, list[_Part]]] = {}
        for rank, place, observed_seconds, value, upper in members:
            part = _part(value, observed_seconds, upper=upper)
            by_rank.setdefault(rank, {}).setdefault(place.key, []).append(part)
        return _first_complete(address, kind, by_rank, self._index, self._sharers)


def _first_complete(
    address: str,
    kind: SignalKind,
    by_rank: Mapping[int, Mapping[PartKey, Sequence[_Part]]],
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
                return Reading(address, kind, combined, oldest_seconds, origin_of(shares))
            reason = RejectionReason.DISAGREE
        trouble = trouble or reason
    assert trouble is not None, "a group has at least one sample"
    return trouble


def _incompleteness(
    address: str, parts: Mapping[PartKey, _Part], rule: Rule, index: FleetIndex
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
    parts: Mapping[PartKey, _Part], shares: Mapping[PartKey, int], rule: Rule
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


def _part(value: float | None, observed_seconds: float, *, upper: float) -> _Part:
    if value is None:
        return _Part(0.0, observed_seconds, RejectionReason.MALFORMED)
    return _Part(value, observed_seconds, insanity(value, upper=upper))


def _value(sample: Sample) -> float | None:
    """In the unit of its kind; None: it cannot be read."""
    family = sample.family
    raw = kv_cache_capacity_tokens(sample.labels) if family.in_labels else sample.value
    return None if raw is None else raw * family.scale


def _upper(kind: SignalKind, boards: int) -> float:
    rule = RULES[kind]
    return rule.upper * boards if rule.boards else rule.upper
