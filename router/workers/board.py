"""The memory that router processes of one machine share: a ring for each, and their requests.

It is a file without a name (memfd, or a temporary file that is unlinked at once), so nothing is
left behind however the processes end. The parent makes it and hands its descriptor down.

Layout, all numbers 8 bytes: magic, workers, ring length; per ring its head, then a probe of the
writer's hash key, then by reader a count of the pictures asked for; then the rings themselves.
"""

import mmap
import os
import sys
import tempfile
from typing import Self

from router.workers.records import Gone, encode
from router.workers.ring import RingReader, RingWriter

RING_BYTES = 1 << 20
"""Of one worker: over a second of records at a thousand requests a second."""

# Twice the longest record: hashes of a 1 MiB prompt, and headers as long as Envoy takes them.
LEAST_RING_BYTES = 1 << 18
_MAGIC = 0x4845414452414345  # "HEADRACE"
_WORD_BYTES = 8
_CACHE_LINE_BYTES = 64
_FIRST_ROW = 3
_HEADER_WORDS = 3


class BoardError(ValueError):
    """What is there is not a board; the text says why."""


class Board:
    """The rings of all workers and of their parent, who comes last.

    Attributes:
        fd: Of the file; for `pass_fds`.
        workers: How many there are.
    """

    def __init__(self, fd: int) -> None:
        """Map the file.

        Raises:
            BoardError: It is no board.
            OSError, ValueError: It cannot be mapped.
        """
        self.fd = fd
        memory = self._memory = memoryview(mmap.mmap(fd, 0))
        header = [0] * _HEADER_WORDS
        if len(memory) >= _WORD_BYTES * _HEADER_WORDS:
            header = memory[: _WORD_BYTES * _HEADER_WORDS].cast("Q").tolist()
        magic, self.workers, self._ring_bytes = header
        if magic != _MAGIC or len(memory) != _size(self.workers, self._ring_bytes):
            raise BoardError(f"file descriptor {fd}: holds no shared ledger of router workers.")
        self._words = memory[: _rings_at(self.workers)].cast("Q")

    @classmethod
    def create(cls, workers: int, ring_bytes: int = RING_BYTES) -> Self:
        """Make the memory, before any worker is started.

        Args:
            workers: Processes that write.
            ring_bytes: Of each one's ring; a multiple of 8.

        Raises:
            ValueError: A number is out of its range.
            OSError: The machine has no such memory to give.
        """
        if workers < 1:
            raise ValueError(f"workers: must be 1 or more, got {workers}.")
        if ring_bytes < LEAST_RING_BYTES or ring_bytes % _WORD_BYTES:
            raise ValueError(
                f"ring_bytes: must be a multiple of 8 and {LEAST_RING_BYTES} or more, "
                f"got {ring_bytes}."
            )
        fd = _nameless_file()
        os.ftruncate(fd, _size(workers, ring_bytes))
        header = b"".join(
            number.to_bytes(_WORD_BYTES, sys.byteorder) for number in (_MAGIC, workers, ring_bytes)
        )
        os.pwrite(fd, header, 0)
        return cls(fd)

    @classmethod
    def open(cls, fd: int) -> Self:
        """Take the memory that a parent made.

        Raises:
            BoardError: The descriptor is that of something else.
        """
        try:
            return cls(fd)
        except (OSError, ValueError) as error:
            if isinstance(error, BoardError):
                raise
            raise BoardError(f"file descriptor {fd}: {error}.") from error

    @property
    def rings(self) -> int:
        """One for each worker, and the last for the parent."""
        return self.workers + 1

    def writer(self, index: int) -> "BoardLog":
        """The ring of process `index`, for that process alone."""
        return BoardLog(self, index)

    def reader(self, index: int, *, reader: int) -> "BoardTail":
        """The ring of process `index`, for process `reader`."""
        return BoardTail(self, index, reader)

    def ring(self, index: int) -> tuple[memoryview, memoryview, int]:
        """Memory, heads and place of a ring among the heads."""
        start = _rings_at(self.workers) + index * self._ring_bytes
        return self._memory[start : start + self._ring_bytes], self._words, _FIRST_ROW + index

    @property
    def words(self) -> memoryview:
        """All of the header, as unsigned 64-bit numbers."""
        return self._words

    def probe_at(self, index: int) -> int:
        """Where in `words` the probe of a writer's hash key stands."""
        return _FIRST_ROW + self.rings + index

    def asked_at(self, index: int, reader: int) -> int:
        """Where in `words` a reader counts the pictures that it asked process `index` for."""
        return _FIRST_ROW + (2 + index) * self.rings + reader

    def retire(self, index: int) -> None:
        """Say that worker `index` is gone; for the parent, once that process has ended."""
        RingWriter(*self.ring(index)).append(encode(Gone()))

    def close(self) -> None:
        """Close the descriptor; the memory goes with the last process that uses it."""
        os.close(self.fd)


class BoardLog(RingWriter):
    """A worker's own ring."""

    __slots__ = ("_answered", "_row")

    def __init__(self, board: Board, index: int) -> None:
        """Take it over from whoever wrote there before."""
        super().__init__(*board.ring(index))
        first = board.asked_at(index, 0)
        self._row = board.words[first : first + board.rings]
        self._answered = self._row.tolist()
        board.words[board.probe_at(index)] = _probe()

    def asked(self) -> bool:
        """Whether a reader has asked for a picture since this was last called."""
        asked = self._row.tolist()
        if asked == self._answered:
            return False
        self._answered = asked
        return True


class BoardTail(RingReader):
    """Another worker's ring."""

    __slots__ = ("_asked_at", "_header", "_probe_at")

    def __init__(self, board: Board, index: int, reader: int) -> None:
        """Read what is written from now on, as `reader`."""
        super().__init__(*board.ring(index))
        self._header = board.words
        self._probe_at = board.probe_at(index)
        self._asked_at = board.asked_at(index, reader)

    @property
    def same_hash_key(self) -> bool:
        """Whether the writer's hashes are those that this process would make."""
        return bool(self._header[self._probe_at] == _probe())

    def ask(self) -> None:
        """Ask the writer for a picture of its open tickets."""
        self._header[self._asked_at] += 1


def _probe() -> int:
    """Tells hash keys apart: what this process makes of one text."""
    return hash("headrace") & 0xFFFFFFFFFFFFFFFF


def _rings_at(workers: int) -> int:
    rings = workers + 1
    words = _FIRST_ROW + (2 + rings) * rings
    return -(-words * _WORD_BYTES // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES


def _size(workers: int, ring_bytes: int) -> int:
    return _rings_at(workers) + (workers + 1) * ring_bytes


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("headrace-workers")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
