"""The record on the node's disk, and the lock that lets one agent write."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from capper.clocks.record import DamagedRecordError

_RECORD, _LOCK = "record.json", "lock"


class NodeBusyError(Exception):
    """Another agent holds this node."""


class RecordFile:
    """A folder of the host, with one writer."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is made where it is missing.

        Raises:
            NodeBusyError: Another process has it.
            OSError: It cannot be made or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / _RECORD
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._written: str | None = None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise NodeBusyError(f"{folder}: another clock agent runs on this node.") from error

    def read(self) -> Any:
        """The document, None where there is none.

        Raises:
            DamagedRecordError: What is there is not JSON.
        """
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, UnicodeDecodeError) as error:
            raise DamagedRecordError(f"it is not JSON: {error}.") from error

    def write(self, document: Any) -> None:
        """Replace it all at once; on disk when this returns. Nothing is done for no change.

        Raises:
            OSError: It could not be written; the one before it is still there.
        """
        text = json.dumps(document, indent=1, sort_keys=True)
        if text == self._written:
            return
        partial = self._path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        os.fsync(self._folder)
        self._written = text

    def set_aside(self) -> Path:
        """Move a damaged record out of the way, for people; returns where it is."""
        aside = self._path.with_suffix(".damaged")
        self._path.replace(aside)
        os.fsync(self._folder)
        return aside

    def close(self) -> None:
        """Let another agent have the node."""
        os.close(self._lock)
        os.close(self._folder)
