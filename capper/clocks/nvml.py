"""NVIDIA boards, through NVML's own Python binding. One thread at a time."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pynvml

from capper.clocks.board import Board
from capper.clocks.xid_events import Xid, XidEvents

_log = logging.getLogger(__name__)
_HERTZ_PER_MEGAHERTZ = 1e6
_WATTS_PER_MILLIWATT = _JOULES_PER_MILLIJOULE = 1e-3


class Fault(StrEnum):
    """Why NVML did not do something."""

    ABSENT = "absent"  # no library or no driver, or it was taken away
    PERMISSION = "permission"
    UNSUPPORTED = "unsupported"
    LOST = "lost"
    OTHER = "other"


class NvmlError(Exception):
    """NVML said no.

    Attributes:
        fault: For decisions and metrics.
    """

    def __init__(self, fault: Fault, message: str) -> None:
        """Say what was tried and what NVML said."""
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReading:
    """What a board says of itself now; None where it does not.

    Attributes:
        sm_hertz: Clock of its SMs.
        limit_watts: Power limit that is set.
        watts: Draw.
        joules: Energy since the driver was loaded.
    """

    sm_hertz: float | None
    limit_watts: float | None
    watts: float | None
    joules: float | None


_FAULTS = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: Fault.ABSENT,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: Fault.ABSENT,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: Fault.ABSENT,
    pynvml.NVML_ERROR_UNINITIALIZED: Fault.ABSENT,
    pynvml.NVML_ERROR_NO_PERMISSION: Fault.PERMISSION,
    pynvml.NVML_ERROR_NOT_SUPPORTED: Fault.UNSUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Fault.UNSUPPORTED,
    pynvml.NVML_ERROR_GPU_IS_LOST: Fault.LOST,
    pynvml.NVML_ERROR_NOT_FOUND: Fault.LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Fault.LOST,
}


class Nvml:
    """All boards of this node.

    Attributes:
        started: Whether the library is initialised.
    """

    def __init__(self) -> None:
        """Nothing is loaded before `start`."""
        self.started = False
        self._handles: dict[str, Any] = {}
        self._xids = XidEvents()

    def start(self) -> None:
        """Load and initialise, anew where it was before: a driver that was loaded anew needs it.

        Raises:
            NvmlError: There is no library or no driver.
        """
        self.stop()
        _call("NVML", pynvml.nvmlInit)
        self.started = True

    def stop(self) -> None:
        """Let the library go."""
        self._handles = {}
        self._xids.stop()
        if self.started:
            self.started = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError as error:
                _log.debug("nvmlShutdown: %s", error)

    def boards(self) -> tuple[Board, ...]:
        """Every board that answers, as it is now.

        Raises:
            NvmlError: The driver is gone.
        """
        found = []
        for index in range(_call("NVML", pynvml.nvmlDeviceGetCount)):
            what = f"GPU {index}"
            try:
                handle = _call(what, pynvml.nvmlDeviceGetHandleByIndex, index)
                uuid = _call(what, pynvml.nvmlDeviceGetUUID, handle)
                self._handles[uuid] = handle
                self._xids.listen(uuid, handle)
                found.append(self._board(uuid, handle))
            except NvmlError as error:
                if error.fault is Fault.ABSENT:
                    raise
                _log.debug("%s", error)
        return tuple(found)

    def board(self, uuid: str) -> Board:
        """One board as it is now.

        Raises:
            NvmlError: It does not answer, or there is no such board.
        """
        return self._board(uuid, self._handle(uuid))

    def board_of_instance(self, uuid: str) -> str:
        """The board that a MIG instance is part of.

        Raises:
            NvmlError: There is no such instance.
        """
        instance = _call(uuid, pynvml.nvmlDeviceGetHandleByUUID, uuid)
        handle = _call(uuid, pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, instance)
        return str(_call(uuid, pynvml.nvmlDeviceGetUUID, handle))

    def errors(self) -> tuple[Xid, ...]:
        """Critical errors of boards since this was last asked."""
        return self._xids.since_last() if self.started else ()

    def read(self, uuid: str) -> BoardReading:
        """Clock, limit, draw and energy now.

        Raises:
            NvmlError: It does not answer.
        """
        handle = self._handle(uuid)
        clock = _known(uuid, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
        limit = _known(uuid, pynvml.nvmlDeviceGetPowerManagementLimit, handle)
        draw = _known(uuid, pynvml.nvmlDeviceGetPowerUsage, handle)
        energy = _known(uuid, pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        return BoardReading(
            sm_hertz=_scaled(clock, _HERTZ_PER_MEGAHERTZ),
            limit_watts=_scaled(limit, _WATTS_PER_MILLIWATT),
            watts=_scaled(draw, _WATTS_PER_MILLIWATT),
            joules=_scaled(energy, _JOULES_PER_MILLIJOULE),
        )

    def lock(self, board: Board, hertz: float) -> None:
        """Let its clock be at most `hertz`; it may idle as low as it can.

        Raises:
            NvmlError: Refused.
        """
        least = round(board.clocks_hertz[0] / _HERTZ_PER_MEGAHERTZ)
        most = round(hertz / _HERTZ_PER_MEGAHERTZ)
        handle = self._handle(board.uuid)
        _call(board.uuid, pynvml.nvmlDeviceSetGpuLockedClocks, handle, least, most)

    def unlock(self, board: Board) -> None:
        """Take the lock off.

        Raises:
            NvmlError: Refused.
        """
        _call(board.uuid, pynvml.nvmlDeviceResetGpuLockedClocks, self._handle(board.uuid))

    def limit(self, board: Board, watts: float) -> None:
        """Set its power limit.

        Raises:
            NvmlError: Refused.
        """
        handle, milliwatts = self._handle(board.uuid), round(watts / _WATTS_PER_MILLIWATT)
        _call(board.uuid, pynvml.nvmlDeviceSetPowerManagementLimit, handle, milliwatts)

    def _handle(self, uuid: str) -> Any:
        if uuid not in self._handles:
            self._handles[uuid] = _call(uuid, pynvml.nvmlDeviceGetHandleByUUID, uuid)
        return self._handles[uuid]

    def _board(self, uuid: str, handle: Any) -> Board:
        mig = _known(uuid, pynvml.nvmlDeviceGetMigMode, handle)
        limits = _known(uuid, pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
        limit = _known(uuid, pynvml.nvmlDeviceGetPowerManagementLimit, handle)
        least, most = limits if limits is not None else (None, None)
        return Board(
            uuid=uuid,
            name=str(_known(uuid, pynvml.nvmlDeviceGetName, handle) or ""),
            clocks_hertz=_clocks(uuid, handle),
            limit_watts=_scaled(limit, _WATTS_PER_MILLIWATT),
            min_limit_watts=_scaled(least, _WATTS_PER_MILLIWATT),
            max_limit_watts=_scaled(most, _WATTS_PER_MILLIWATT),
            mig=mig is not None and pynvml.NVML_DEVICE_MIG_ENABLE in mig,
        )


def _clocks(uuid: str, handle: Any) -> tuple[float, ...]:
    """Graphics clocks at the highest memory clock, ascending."""
    memory = _known(uuid, pynvml.nvmlDeviceGetSupportedMemoryClocks, handle)
    if not memory:
        return ()
    clocks = _known(uuid, pynvml.nvmlDeviceGetSupportedGraphicsClocks, handle, max(memory))
    return tuple(sorted({clock * _HERTZ_PER_MEGAHERTZ for clock in clocks or ()}))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _known(what: str, function: Any, *arguments: Any) -> Any:
    """The answer, or None where the board does not have it."""
    try:
        return _call(what, function, *arguments)
    except NvmlError as error:
        if error.fault is Fault.UNSUPPORTED:
            return None
        raise


def _call(what: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        fault = _FAULTS.get(error.value, Fault.OTHER)
        said = _LIBRARY_SENTENCE if fault is Fault.ABSENT and what == "NVML" else f"{error}"
        hint = _PERMISSION_HINT if fault is Fault.PERMISSION else ""
        raise NvmlError(fault, f"{what}: {function.__name__}: {said}{hint}.") from error


_LIBRARY_SENTENCE = "NVML or its driver is not there"
_PERMISSION_HINT = "; it needs root or CAP_SYS_ADMIN"
