"""Prompts' blocks of a whole fleet as one tree, in runs that nothing divides. Pure.

A block's hash stands for the block and all before it, so it has one place in the tree. Blocks that
came together and of which no prompt branches off are one run: an array of hashes, which takes 8
bytes a block where a dictionary would take 100.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Held(NamedTuple):
    """What one replica has of a run.

    Attributes:
        touched: When the run was last part of a prompt sent there, as a number that grows.
        blocks: How many of its first blocks.
    """

    touched: int
    blocks: int


class Run:
    """Blocks in a row.

    Attributes:
        hashes: Of its blocks, at least one.
        before: The run that it goes on from, or None at the beginning of prompts. It may have died
            since; those above it are then still found by it.
        holders: What of it each replica has, by address; replicas without any are not in it.
    """

    __slots__ = ("before", "hashes", "holders")

    def __init__(self, hashes: "array[int]", before: "Run | None") -> None:
        """Held by nobody yet."""
        self.hashes = hashes
        self.before = before
        self.holders: dict[str, Held] = {}

    def matching(self, hashes: Sequence[int], start: int) -> int:
        """How many of its blocks `hashes` has from `start` on; the first is known to be one."""
        own = self.hashes
        most = min(len(own), len(hashes) - start)
        if own[most - 1] == hashes[start + most - 1]:
            return most
        return bisect_left(range(most), True, key=lambda at: own[at] != hashes[start + at])


class RunTree:
    """All runs that somebody holds, by their first block."""

    __slots__ = ("_by_first",)

    def __init__(self) -> None:
        """Empty."""
        self._by_first: dict[int, Run] = {}

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._by_first)

    def __contains__(self, first: int) -> bool:
        """Whether a run begins with this block."""
        return first in self._by_first

    def along(self, hashes: Sequence[int]) -> Iterator[tuple[Run, int, int]]:
        """(run, where in `hashes` it begins, how many of its blocks they have) from the root on."""
        start = 0
        while start < len(hashes):
            run = self._by_first.get(hashes[start])
            if run is None:
                return
            matching = run.matching(hashes, start)
            yield run, start, matching
            if matching < len(run.hashes):
                return
            start += matching

    def grow(self, hashes: Sequence[int]) -> Iterator[Run]:
        """The runs that make up `hashes` from the root on, divided and added as needed."""
        start, before = 0, None
        while start < len(hashes):
            run = self._by_first.get(hashes[start])
            if run is None:
                run = self._by_first[hashes[start]] = Run(array("q", hashes[start:]), before)
            else:
                matching = run.matching(hashes, start)
                if matching < len(run.hashes):
                    run = self._divide(run, matching)
            yield run
            before = run
            start += len(run.hashes)

    def drop(self, run: Run) -> None:
        """Nobody holds it any more."""
        del self._by_first[run.hashes[0]]

    def _divide(self, run: Run, at: int) -> Run:
        """Cut a new run off the front; whoever refers to `run` goes on referring to its end."""
        front = Run(run.hashes[:at], run.before)
        front.holders = {
            address: held if held.blocks <= at else Held(held.touched, at)
            for address, held in run.holders.items()
        }
        run.hashes, run.before = run.hashes[at:], front
        run.holders = {
            address: Held(held.touched, held.blocks - at)
            for address, held in run.holders.items()
            if held.blocks > at
        }
        self._by_first[front.hashes[0]] = front
        if run.holders:
            self._by_first[run.hashes[0]] = run
        return front
