"""Critical errors of boards (XID), as NVML tells them. One thread at a time."""

import logging
from typing import Any, NamedTuple

import pynvml

_log = logging.getLogger(__name__)
_MOST_AT_ONCE = 64


class Xid(NamedTuple):
    """An error of a board.

    Attributes:
        uuid: Which.
        number: NVIDIA's number of it.
    """

    uuid: str
    number: int


class XidEvents:
    """What happened since the last look, where the driver tells it."""

    def __init__(self) -> None:
        """Nothing is listened to yet."""
        self._set: Any = None
        self._listening: set[str] = set()

    def listen(self, uuid: str, handle: Any) -> None:
        """Hear of a board's errors from now on; nothing where it does not tell them."""
        if uuid in self._listening:
            return
        try:
            if self._set is None:
                self._set = pynvml.nvmlEventSetCreate()
            kinds = pynvml.nvmlEventTypeXidCriticalError
            pynvml.nvmlDeviceRegisterEvents(handle, kinds, self._set)
        except pynvml.NVMLError as error:
            _log.debug("%s: its errors are not told: %s", uuid, error)
            return
        self._listening.add(uuid)

    def since_last(self) -> tuple[Xid, ...]:
        """Without waiting. Errors of NVML are found by who reads the boards."""
        found: list[Xid] = []
        while self._listening and len(found) < _MOST_AT_ONCE:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._set, 0)
                found.append(Xid(str(pynvml.nvmlDeviceGetUUID(event.device)), int(event.eventData)))
            except pynvml.NVMLError:
                break
        return tuple(found)

    def stop(self) -> None:
        """Hear no more; before the library is let go."""
        if self._set is not None:
            try:
                pynvml.nvmlEventSetFree(self._set)
            except pynvml.NVMLError as error:
                _log.debug("nvmlEventSetFree: %s", error)
        self._set, self._listening = None, set()
