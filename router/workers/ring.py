"""A log in a piece of memory that one process writes and others read, without locks. Pure.

The memory is a ring: the newest records overwrite the oldest. The head counts all bytes that were
ever written and only grows, so a position is never used twice, and a reader that is more than the
ring's length behind knows that it was overtaken. Before each record stand its length and a
checksum over its bytes and its position: a record that is half written, half overwritten or not
yet visible in order (ARM) does not fit its checksum, and is not taken for another.
"""

import zlib
from typing import NamedTuple

_FRAME_BYTES = 8  # length and checksum, 4 bytes each; records stand at multiples of this
_TO_THE_START = 0xFFFFFFFF  # in place of a length: the rest of the ring's end is empty
# A record that is merely not visible yet is so long before it was looked at this often.
_PATIENCE = 3


class RecordSizeError(ValueError):
    """A record is empty, or longer than half of the ring."""


class Taken(NamedTuple):
    """What a reader found.

    Attributes:
        records: (position, bytes) of each, in order.
        lapped: Whether some were overwritten before they were read.
        torn: Whether one could not be read for long, and those after it were given up.
    """

    records: list[tuple[int, bytes]]
    lapped: bool = False
    torn: bool = False


class Ring:
    """The layout that writer and reader share.

    Attributes:
        capacity_bytes: Length.
    """

    __slots__ = ("_heads", "_index", "_memory", "_words", "capacity_bytes")

    def __init__(self, memory: memoryview, heads: memoryview, index: int) -> None:
        """Lay a ring into `memory`.

        Args:
            memory: Of the ring, as bytes; a multiple of 8 long and aligned to 8.
            heads: The counters of all rings, as unsigned 64-bit numbers.
            index: Which of them is this ring's.
        """
        self._memory = memory
        self._words = memory.cast("I")
        self._heads = heads
        self._index = index
        self.capacity_bytes = len(memory)


class RingWriter(Ring):
    """Its one writer."""

    __slots__ = ()

    def append(self, payload: bytes) -> int:
        """Write a record; returns its position.

        The head moves last: before that no reader looks at these bytes.

        Raises:
            RecordSizeError: It is empty, or longer than half of the ring.
        """
        capacity, head = self.capacity_bytes, self._heads[self._index]
        needed = _FRAME_BYTES + _aligned(len(payload))
        if not payload or 2 * needed > capacity:
            raise RecordSizeError(
                f"A record of {len(payload)} bytes does not fit a ring of {capacity} bytes."
            )
        start = head % capacity
        if start + needed > capacity:
            self._words[start // 4] = _TO_THE_START
            head += capacity - start
            start = 0
        body = start + _FRAME_BYTES
        self._memory[body : body + len(payload)] = payload
        self._words[start // 4] = len(payload)
        self._words[start // 4 + 1] = _checksum(payload, head)
        self._heads[self._index] = head + needed
        return head


class RingReader(Ring):
    """One of its readers.

    Attributes:
        position: Up to where it has read.
    """

    __slots__ = ("_tries", "position")

    def __init__(self, memory: memoryview, heads: memoryview, index: int) -> None:
        """Begin with what is written from now on."""
        super().__init__(memory, heads, index)
        self.position: int = heads[index]
        self._tries = 0

    def behind(self) -> bool:
        """Whether there is anything new: one comparison."""
        return bool(self._heads[self._index] != self.position)

    def take(self) -> Taken:
        """All new records. After a loss it goes on with what is written from now on."""
        records: list[tuple[int, bytes]] = []
        head: int = self._heads[self._index]
        while self.position != head:
            record = self._next(head)
            if record is not None:
                self._tries = 0
                records.append(record)
                continue
            head = self._heads[self._index]
            if head - self.position > self.capacity_bytes:
                return self._lose(Taken(records, lapped=True))
            self._tries += 1
            if self._tries >= _PATIENCE:
                return self._lose(Taken(records, torn=True))
            break
        return Taken(records)

    def _next(self, head: int) -> tuple[int, bytes] | None:
        """The next record and its position; None when it cannot be read."""
        capacity, position, words = self.capacity_bytes, self.position, self._words
        start = position % capacity
        if words[start // 4] == _TO_THE_START:
            position += capacity - start
            start = 0
        if not 0 < head - position <= capacity:
            return None
        length, checksum = words[start // 4], words[start // 4 + 1]
        body = start + _FRAME_BYTES
        if not 0 < length <= capacity - body:
            return None
        payload = bytes(self._memory[body : body + length])
        if _checksum(payload, position) != checksum:
            return None
        self.position = position + _FRAME_BYTES + _aligned(length)
        return position, payload

    def _lose(self, taken: Taken) -> Taken:
        self.position = self._heads[self._index]
        self._tries = 0
        return taken


def _aligned(length: int) -> int:
    return -(-length // _FRAME_BYTES) * _FRAME_BYTES


def _checksum(payload: bytes, position: int) -> int:
    return zlib.crc32(payload, position & 0xFFFFFFFF)
