"""Numbers kept in order of a load that changes all the time. Pure."""

from bisect import bisect_left, insort
from collections.abc import Iterator


class Levels:
    """Members by load, and by number among those of one load.

    Loads are mostly whole requests, so there are few levels however many members there are, and a
    member moves by two searches in lists of plain numbers.

    Attributes:
        loads: Those that some member has, the least first.
        at: Load -> its members' numbers, in order.
    """

    __slots__ = ("at", "loads")

    def __init__(self) -> None:
        """Without members."""
        self.loads: list[float] = []
        self.at: dict[float, list[int]] = {}

    def add(self, load: float, number: int) -> None:
        """Enter a member."""
        members = self.at.get(load)
        if members is None:
            self.at[load] = [number]
            insort(self.loads, load)
        else:
            insort(members, number)

    def remove(self, load: float, number: int) -> None:
        """Take a member out, entered with this load."""
        members = self.at[load]
        if len(members) > 1:
            del members[bisect_left(members, number)]
        else:
            del self.at[load]
            del self.loads[bisect_left(self.loads, load)]

    def least(self) -> list[int]:
        """The members of the lowest level; there must be one."""
        return self.at[self.loads[0]]

    def __iter__(self) -> Iterator[int]:
        """All members, the least loaded first."""
        for load in self.loads:
            yield from self.at[load]
