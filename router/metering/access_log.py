"""Access records to a file or to standard output, many at a time."""

import logging
import os
import sys
from pathlib import Path

from router.metering.journey import Journey
from router.metering.record import AccessRecord

_log = logging.getLogger(__name__)

STANDARD_OUTPUT = "-"
_FLUSH_BYTES = 64 * 1024
_HELD_BYTES = 16 * 2**20


class AccessLog:
    """A sink of the recorder: lines are held until `flush`, which the service calls each second.

    The file is opened anew when it was moved away (log rotation). When it cannot be written, lines
    are held up to a bound and then dropped, and counted; requests are never held up by it.

    Attributes:
        written: Records written.
        dropped: Records that could not be kept.
    """

    def __init__(self, target: str) -> None:
        """Write to a path, or to standard output for "-"; nothing is opened yet."""
        self._path = None if target == STANDARD_OUTPUT else Path(target)
        self._held = bytearray()
        self._complained = False
        self._file: int | None = None
        self.written = 0
        self.dropped = 0

    def add(self, record: AccessRecord, _journey: Journey | None = None) -> None:
        """Take one record."""
        if len(self._held) >= _HELD_BYTES:
            self.dropped += 1
            return
        self._held += record.to_line()
        if len(self._held) >= _FLUSH_BYTES and not self._complained:
            self.flush()

    def flush(self) -> None:
        """Write what is held; what cannot be written now stays."""
        if not self._held:
            return
        try:
            self._write()
        except OSError as error:
            if not self._complained:
                _log.warning("access records cannot be written to %s: %s", self._path, error)
            self._complained = True
        else:
            self._complained = False

    def close(self) -> None:
        """Write what is held and close the file."""
        self.flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self) -> None:
        held = self._held
        descriptor = sys.stdout.fileno() if self._path is None else self._current(self._path)
        while held:
            count = os.write(descriptor, held)
            self.written += held.count(b"\n", 0, count)
            del held[:count]

    def _current(self, path: Path) -> int:
        """The file that the path names now."""
        if self._file is not None:
            ours = os.fstat(self._file)
            try:
                named = path.stat()
            except FileNotFoundError:
                named = None
            if named is not None and (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino):
                return self._file
            os.close(self._file)
            self._file = None
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        return self._file
