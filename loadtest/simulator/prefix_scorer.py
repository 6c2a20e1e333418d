"""The endpoint picker's scorer with its prefix part, re-implemented for the comparison.

Queue, KV and prefix scores, weighted 2 : 2 : 3 (assumed; published set-ups differ). The prefix
score is the share of the prompt's blocks that the replica is believed to have cached. Belief is an
approximate index: what was sent there lately, least recently used blocks forgotten, 31,250 of them
per replica, as in published set-ups of the Gateway API Inference Extension's picker.
"""

from collections import OrderedDict
from collections.abc import Sequence

from router.decide.outcome import PickReason
from router.decide.policies import Choice
from router.decide.question import Question
from router.decide.unit import Unit

_QUEUE_WEIGHT, _KV_WEIGHT, _PREFIX_WEIGHT = 2.0, 2.0, 3.0
_BLOCKS_PER_REPLICA = 31_250
_LEAST_SPREAD = 1e-9


class PrefixIndex:
    """Which prompt blocks each replica was sent lately."""

    __slots__ = ("_blocks", "_blocks_per_replica")

    def __init__(self, *, blocks_per_replica: int = _BLOCKS_PER_REPLICA) -> None:
        """Empty."""
        self._blocks: dict[str, OrderedDict[int, None]] = {}
        self._blocks_per_replica = blocks_per_replica

    def matching_blocks(self, address: str, hashes: Sequence[int]) -> int:
        """How many leading `hashes` the replica is believed to have."""
        known = self._blocks.get(address, ())
        for count, block_hash in enumerate(hashes):
            if block_hash not in known:
                return count
        return len(hashes)

    def record(self, address: str, hashes: Sequence[int]) -> None:
        """A prompt was sent there. Its tail is forgotten first."""
        known = self._blocks.setdefault(address, OrderedDict())
        for block_hash in reversed(hashes):
            known[block_hash] = None
            known.move_to_end(block_hash)
        while len(known) > self._blocks_per_replica:
            known.popitem(last=False)


class QueueKvPrefix:
    """The scorer as a policy. It remembers its picks, so make one for each run."""

    def __init__(self) -> None:
        """With an empty index."""
        self._index = PrefixIndex()

    def __call__(self, question: Question) -> Choice:
        """The best score; ties at random."""
        hashes = question.demand.prefix_block_hashes
        queues = [_queue(unit) for unit in question.eligible]
        low, spread = min(queues), max(max(queues) - min(queues), _LEAST_SPREAD)
        scores = [
            _QUEUE_WEIGHT * (1.0 - (queue - low) / spread)
            + _KV_WEIGHT * (1.0 - _kv_ratio(unit))
            + _PREFIX_WEIGHT * self._match_ratio(unit, hashes)
            for queue, unit in zip(queues, question.eligible, strict=True)
        ]
        best = max(scores)
        tied = [unit for unit, one in zip(question.eligible, scores, strict=True) if one == best]
        unit = tied[int(question.draw * len(tied))]
        self._index.record(unit.address, hashes)
        return Choice(unit, PickReason.POLICY)

    def _match_ratio(self, unit: Unit, hashes: Sequence[int]) -> float:
        if not hashes:
            return 0.0
        return self._index.matching_blocks(unit.address, hashes) / len(hashes)


def _queue(unit: Unit) -> float:
    if unit.waiting_requests is not None:
        return unit.waiting_requests
    return float(unit.account.running)


def _kv_ratio(unit: Unit) -> float:
    if unit.kv_usage_ratio is not None:
        return unit.kv_usage_ratio
    return min(1.0, unit.resident_tokens / unit.kv_capacity_tokens)
