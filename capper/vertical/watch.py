"""The VerticalPodAutoscalers of all configurations, read in the background, looked at each turn."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from capper.api.vertical_block import Vertical
from capper.background import Background
from capper.vertical.host_share import HostRates
from capper.vertical.looks import UNREAD, Seen, UnreadError, VerticalLook, look_at
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_STALE_PERIODS = 5.0


class Reader(Protocol):
    """Reads a cluster."""

    async def read(self, refs: Iterable[str]) -> Seen:
        """All that is judged for these targets; targets that cannot be read are left out.

        Args:
            refs: Of the targets, as they are written.

        Raises:
            UnreadError: The API server does not answer, or refuses.
        """
        ...


@dataclass(slots=True)
class _Source:
    """One configuration."""

    block: Vertical
    refs: tuple[str, ...]
    due_seconds: float
    found: VerticalLook = field(default_factory=VerticalLook)
    read_seconds: float | None = None
    problem: str = ""
    task: asyncio.Task[None] | None = None


class VerticalWatch(Background[_Source]):
    """Reads again every `refreshSeconds`."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        """Read through `reader`; nothing is read yet."""
        super().__init__()
        self._reader = reader
        self._clock = clock

    def look(self, name: str, block: Vertical | None, refs: Iterable[str]) -> VerticalLook:
        """What is known now; begins to read where that is due. Never waits.

        Args:
            name: "namespace/name".
            block: Of the configuration.
            refs: Its targets, as they are written.
        """
        if block is None or not block.enabled:
            self.forget(name)
            return VerticalLook()
        now_seconds = self._clock.monotonic_seconds()
        listed = tuple(sorted(refs))
        source = self.sources.get(name)
        if source is None or source.block != block or source.refs != listed:
            self.forget(name)
            source = self.sources[name] = _Source(block, listed, now_seconds)
        if source.task is None and now_seconds >= source.due_seconds:
            source.due_seconds = now_seconds + block.refresh_seconds
            source.task = asyncio.create_task(self._read(name, source))
        if not source.problem:
            return source.found
        unread = {UNREAD: (True, "NotReadable", source.problem)}
        longest = _STALE_PERIODS * block.refresh_seconds
        if source.read_seconds is None or now_seconds - source.read_seconds > longest:
            return VerticalLook(conditions=unread)
        return VerticalLook(
            statuses=source.found.statuses,
            extra_watts=source.found.extra_watts,
            conditions={**source.found.conditions, **unread},
        )

    async def _read(self, name: str, source: _Source) -> None:
        rates = HostRates(
            cpu_core_watts=source.block.cpu_core_watts,
            memory_gibibyte_watts=source.block.memory_gibibyte_watts,
        )
        try:
            source.found = look_at(await self._reader.read(source.refs), rates)
            source.read_seconds, problem = self._clock.monotonic_seconds(), ""
        except UnreadError as error:
            problem = str(error)
        except Exception:  # noqa: BLE001 - supervisor: what was read before stays
            _log.exception("%s: reading VerticalPodAutoscalers failed", name)
            problem = "reading failed, the log says how."
        if problem and problem != source.problem:
            _log.warning("%s: VerticalPodAutoscalers are not read: %s", name, problem)
        source.problem, source.task = problem, None
