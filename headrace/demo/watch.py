"""The live table: what each backend does right now, as the router's own telemetry has it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.demo.capping_log import CappingLog

_INTERVAL_SECONDS = 1.0
# Where there is no terminal to redraw, one line now and then is progress enough.
_LINE_INTERVAL_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """One backend at one moment; None is unknown.

    Attributes:
        backend: Its name.
        replicas: How many it has.
        running: Requests in flight, by the router's ledger.
        power_watts: Of all its replicas.
        tokens_per_second: Generated.
        picks: Requests sent to it so far.
    """

    backend: str
    replicas: int
    running: int
    power_watts: float | None
    tokens_per_second: float | None
    picks: int

    @property
    def tokens_per_joule(self) -> float | None:
        """Tokens/s over watts; None when either is unknown or nothing is generated."""
        if not self.power_watts or not self.tokens_per_second:
            return None
        return self.tokens_per_second / self.power_watts


def rows(snapshot: Mapping[str, Any], picks: Mapping[str, int]) -> list[BackendRow]:
    """Backends in the order of the snapshot. A sum with an unknown part is unknown."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for replica in snapshot["replicas"]:
        found.setdefault(replica["backend"], []).append(replica)
    return [
        BackendRow(
            backend=backend,
            replicas=len(replicas),
            running=sum(replica["ledger_running"] for replica in replicas),
            power_watts=_sum(replicas, "power_watts"),
            tokens_per_second=_sum(replicas, "generation_tokens_per_second"),
            picks=picks.get(backend, 0),
        )
        for backend, replicas in found.items()
    ]


def _sum(replicas: Sequence[Mapping[str, Any]], kind: str) -> float | None:
    signals = [replica["signals"].get(kind) for replica in replicas]
    if any(signal is None or signal["freshness"] != "fresh" for signal in signals):
        return None
    return sum(float(signal["value"]) for signal in signals if signal is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PickCounts:
    """The router's own counters.

    Attributes:
        by_backend: Requests sent to each backend.
        by_reason: Requests by the reason of the pick.
    """

    by_backend: Mapping[str, int]
    by_reason: Mapping[str, int]


async def pick_counts(session: aiohttp.ClientSession, admin_url: str) -> PickCounts:
    """Read the counters off /metrics."""
    async with session.get(f"{admin_url}/metrics") as answer:
        text = await answer.text()
    by_backend: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "headrace_router_picks_total":
                backend, reason = sample.labels["backend"], sample.labels["reason"]
                by_backend[backend] = by_backend.get(backend, 0) + int(sample.value)
                by_reason[reason] = by_reason.get(reason, 0) + int(sample.value)
    return PickCounts(by_backend=by_backend, by_reason=by_reason)


class Watch:
    """Shows a lane while requests are replayed; run as a task and cancel it."""

    def __init__(
        self,
        console: Console,
        *,
        admin_url: str,
        title: str,
        total: int | None,
        capping: CappingLog | None = None,
    ) -> None:
        """Prepare.

        Args:
            console: Where to show.
            admin_url: The router's admin port.
            title: Above the table.
            total: Requests to come, or None when there is no end.
            capping: What the capper shows, where one runs.
        """
        self._console = console
        self._admin_url = admin_url
        self._title = title
        self._total = total
        self._capping = capping
        self.done = 0
        self.failed = 0

    async def run(self) -> None:
        """Refresh until cancelled."""
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            if self._console.is_terminal:
                with Live(console=self._console, auto_refresh=False, transient=True) as live:
                    while True:
                        live.update(self._table(await self._rows(session)), refresh=True)
                        await asyncio.sleep(_INTERVAL_SECONDS)
            while True:
                await asyncio.sleep(_LINE_INTERVAL_SECONDS)
                self._console.print(self._line(await self._rows(session)))

    async def _rows(self, session: aiohttp.ClientSession) -> list[BackendRow]:
        async with session.get(f"{self._admin_url}/debug/snapshot") as answer:
            snapshot = await answer.json()
        counts = await pick_counts(session, self._admin_url)
        return rows(snapshot, counts.by_backend)

    def _progress(self) -> str:
        of = "" if self._total is None else f" of {self._total}"
        return f"{self.done}{of} answered, {self.failed} failed"

    def _line(self, found: Sequence[BackendRow]) -> str:
        watts = _total(row.power_watts for row in found)
        shown = "?" if watts is None else f"{watts:.0f}"
        running = sum(row.running for row in found)
        line = f"{self._title}: {self._progress()}, {running} running, {shown} W"
        return line if self._capping is None else f"{line}\n  {self._capping.sentence()}"

    def _table(self, found: Sequence[BackendRow]) -> Group:
        table = Table(title=f"{self._title}: {self._progress()}", title_justify="left")
        for name in ("backend", "replicas", "running", "watts", "tokens/s", "tokens/J", "picks"):
            table.add_column(name, justify="left" if name == "backend" else "right")
        all_picks = sum(row.picks for row in found)
        for row in found:
            share = row.picks / all_picks if all_picks else None
            table.add_row(
                row.backend,
                self._replicas(row),
                str(row.running),
                _shown(row.power_watts, "{:.0f}"),
                _shown(row.tokens_per_second, "{:.0f}"),
                _shown(row.tokens_per_joule, "{:.2f}"),
                _shown(share, "{:.0%}"),
            )
        # Below it, not its caption: that would be wrapped to the width of the table.
        below = [] if self._capping is None else [Text(self._capping.sentence())]
        return Group(table, *below)

    def _replicas(self, row: BackendRow) -> str:
        awake = None if self._capping is None else self._capping.awake.get(row.backend)
        return str(row.replicas) if awake is None else f"{awake} of {row.replicas} awake"


def _shown(value: float | None, form: str) -> str:
    return "?" if value is None else form.format(value)


def _total(values: Any) -> float | None:
    known = list(values)
    return None if any(value is None for value in known) else sum(known)
