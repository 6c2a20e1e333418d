"""Swaps of two instances between leaves that lower the peaks. Pure.

Ours, after the dealing: SmoothOperator groups and deals, which leaves what k-means cannot see. A
swap keeps the number of instances on every leaf. Rounds and tries are bounded, so that a thousand
instances take seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from operator import add, sub
from typing import NamedTuple

from capper.decide.domains import DomainTree
from capper.decide.smoothing_scores import added
from capper.decide.smoothing_traces import Instance

_LEAST_RATIO = 1e-3
_MOST_TRIES = 20_000
_MOST_ROUNDS = 5


class _Swap(NamedTuple):
    """Two instances, and the nodes that feed one of their leaves and not the other."""

    one: Instance
    other: Instance
    one_nodes: tuple[str, ...]
    other_nodes: tuple[str, ...]


class _Weeks:
    """The week of each node, with its peak and when it is."""

    def __init__(
        self, instances: Sequence[Instance], leaves: Mapping[str, str], tree: DomainTree
    ) -> None:
        below: dict[str, list[Sequence[float]]] = {}
        for one in instances:
            for node in tree.path(leaves[one.name]):
                below.setdefault(node, []).append(one.watts)
        self.tries = 0
        self._weeks: dict[str, list[float]] = {}
        self._peaks: dict[str, tuple[int, float]] = {}
        for node, weeks in below.items():
            self._set(node, added(weeks))
        peaks = [watts for _, watts in self._peaks.values()]
        # Less is not worth another place, and would be sought for ever in the sensors' noise.
        self._least_watts = _LEAST_RATIO * sum(peaks) / max(1, len(peaks))

    def _set(self, node: str, week: list[float]) -> None:
        highest = max(week)
        self._weeks[node] = week
        self._peaks[node] = (week.index(highest), highest)

    def may_gain(self, swap: _Swap) -> bool:
        """Whether the swap lowers the watts at the present times of the peaks.

        A necessary condition that looks at one step a node: what is there after the swap is a lower
        bound of the new peak.
        """
        change = 0.0
        for nodes, out, into in (
            (swap.one_nodes, swap.one.watts, swap.other.watts),
            (swap.other_nodes, swap.other.watts, swap.one.watts),
        ):
            for node in nodes:
                step, _ = self._peaks[node]
                change += into[step] - out[step]
        return change < -self._least_watts

    def try_swap(self, swap: _Swap) -> bool:
        """Do it if the sum of the peaks of all nodes goes down by enough."""
        self.tries += 1
        after: dict[str, list[float]] = {}
        gained = 0.0
        for nodes, out, into in (
            (swap.one_nodes, swap.one.watts, swap.other.watts),
            (swap.other_nodes, swap.other.watts, swap.one.watts),
        ):
            difference = list(map(sub, into, out))
            for node in nodes:
                after[node] = list(map(add, self._weeks[node], difference))
                gained += self._peaks[node][1] - max(after[node])
        if gained <= self._least_watts:
            return False
        for node, week in after.items():
            self._set(node, week)
        return True


def swapped(
    instances: Sequence[Instance], leaves: Mapping[str, str], tree: DomainTree, *, most: int
) -> dict[str, str]:
    """Leaves after swaps; the sum of the peaks of all nodes is never higher than before.

    Args:
        instances: All of them.
        leaves: Where each hangs.
        tree: The power tree.
        most: Swaps at most; each lowers the sum.
    """
    found = dict(leaves)
    weeks = _Weeks(instances, found, tree)
    left = most
    for _ in range(_MOST_ROUNDS):
        before = left
        for swap in _pairs(instances, found, tree):
            if not left or weeks.tries >= _MOST_TRIES:
                return found
            if weeks.may_gain(swap) and weeks.try_swap(swap):
                names = (swap.one.name, swap.other.name)
                found[names[0]], found[names[1]] = found[names[1]], found[names[0]]
                left -= 1
        if left == before:
            break
    return found


def _pairs(
    instances: Sequence[Instance], leaves: Mapping[str, str], tree: DomainTree
) -> Iterator[_Swap]:
    """All pairs on different leaves, as they hang when their turn comes."""
    apart: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for one, other in combinations(instances, 2):
        ends = (leaves[one.name], leaves[other.name])
        if ends[0] == ends[1] or one.watts == other.watts:
            continue
        if ends not in apart:
            paths = [tree.path(end) for end in ends]
            apart[ends] = (
                tuple(node for node in paths[0] if node not in paths[1]),
                tuple(node for node in paths[1] if node not in paths[0]),
            )
        yield _Swap(one, other, *apart[ends])
