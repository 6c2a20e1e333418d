"""The admin port: metrics, liveness and readiness, and a look inside for people."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from fleet.clock import Clock
from fleet.signals import FreshnessPolicy, Signal, SignalKind
from fleet.snapshot import SnapshotHolder
from fleet.topology import Replica
from router.decide.ledger import Ledger
from router.explanations import Explained, explained
from router.extproc.health import Readiness
from router.extproc.pick_log import PickLog

Refresh = Callable[[], Awaitable[None]]
LastPicks = Callable[[int], Awaitable[list[dict[str, Any]]]]
Explain = Callable[[str, Mapping[str, str], bytes], Awaitable[Explained]]

_DEFAULT_PATH = "/v1/chat/completions"
_DEFAULT_LAST = 20


class AdminListenError(Exception):
    """The admin port cannot be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """Settings of the admin port.

    Attributes:
        host: Address to listen on. Loopback unless opened up, since it shows the inside.
        port: 0 for any free one.
        max_body_bytes: Largest request that /debug/explain takes.
    """

    host: str = "127.0.0.1"
    port: int = 0
    max_body_bytes: int = 64 * 2**20


class AdminServer:
    """Serves the admin port. Start once, stop once.

    Attributes:
        port: The port listened on once started, or None.
    """

    def __init__(
        self,
        *,
        settings: AdminSettings,
        registry: CollectorRegistry,
        readiness: Readiness,
        snapshots: SnapshotHolder,
        freshness: FreshnessPolicy,
        ledger: Ledger,
        picks: PickLog,
        clock: Clock,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            settings: Where to listen.
            registry: Shown as /metrics.
            readiness: Shown as /readyz.
            snapshots: Shown as /debug/snapshot.
            freshness: How ages are judged there.
            ledger: Own requests in flight, shown there.
            picks: Shown as /debug/picks; asked by /debug/explain.
            clock: For ages.
        """
        self._settings = settings
        self._refresh: Refresh | None = None
        self._told_picks: LastPicks = self._own_picks
        self._explained: Explain = self._own_explained
        self._registry = registry
        self._readiness = readiness
        self._snapshots = snapshots
        self._freshness = freshness
        self._ledger = ledger
        self._picks = picks
        self._clock = clock
        self._pages: dict[str, Callable[[], dict[str, Any]]] = {}
        self._runner: web.AppRunner | None = None
        self.port: int | None = None

    def show(self, path: str, content: Callable[[], dict[str, Any]]) -> None:
        """Serve what `content` returns at `path` as JSON; before `start`."""
        self._pages[path] = content

    def ask_others(self, *, refresh: Refresh, last_picks: LastPicks, explain: Explain) -> None:
        """Other processes decide and count, so they are asked; before `start`.

        Args:
            refresh: Awaited before metrics or pages are told.
            last_picks: Tells the last decisions, newest first.
            explain: Explains a body for a path with headers.
        """
        self._refresh, self._told_picks, self._explained = refresh, last_picks, explain

    async def start(self) -> None:
        """Listen.

        Raises:
            AdminListenError: When the address is not to be had.
        """
        settings = self._settings
        app = web.Application(client_max_size=settings.max_body_bytes)
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/debug/snapshot", self._snapshot),
                web.get("/debug/picks", self._last_picks),
                web.post("/debug/explain", self._explain),
                *(web.get(path, self._page) for path in self._pages),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            await runner.cleanup()
            raise AdminListenError(
                f"admin: cannot listen on {settings.host}:{settings.port}: {error.strerror}."
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _request: web.Request) -> web.Response:
        await self._refreshed()
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = self._readiness.why_not()
        if reason is not None:
            return _json({"status": "not ready", "reason": reason}, status=503)
        remark = self._readiness.remark()
        return _json({"status": "ready", **({"detail": remark} if remark else {})})

    async def _snapshot(self, _request: web.Request) -> web.Response:
        now_seconds = self._clock.monotonic_seconds()
        snapshot = self._snapshots.current
        running = {address: account.running for address, account in self._ledger}
        published = snapshot.version > 0
        return _json(
            {
                "version": snapshot.version,
                "age_seconds": now_seconds - snapshot.published_seconds if published else None,
                "replicas": [
                    self._replica(
                        replica,
                        snapshot.of(replica.address),
                        running.get(replica.address, 0),
                        now_seconds,
                    )
                    for replica in snapshot.fleet.replicas()
                ],
            }
        )

    def _replica(
        self,
        replica: Replica,
        signals: Mapping[SignalKind, Signal],
        ledger_running: int,
        now_seconds: float,
    ) -> dict[str, Any]:
        return {
            "address": replica.address,
            "backend": replica.backend,
            "models": replica.models,
            "domain": replica.domain,
            "ledger_running": ledger_running,
            "signals": {
                kind.value: {
                    "value": signal.value,
                    "age_seconds": now_seconds - signal.observed_seconds,
                    "freshness": self._freshness.of(signal, now_seconds=now_seconds).value,
                }
                for kind, signal in signals.items()
            },
            "unknown": [kind.value for kind in SignalKind if kind not in signals],
        }

    async def _last_picks(self, request: web.Request) -> web.Response:
        text = request.query.get("last", str(_DEFAULT_LAST))
        capacity = self._picks.capacity
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= capacity):
            return _error(f"last: must be an integer from 1 to {capacity}, got '{text}'.")
        return _json({"picks": await self._told_picks(int(text))})

    async def _own_picks(self, count: int) -> list[dict[str, Any]]:
        now_seconds = self._clock.monotonic_seconds()
        return [record.to_dict(now_seconds=now_seconds) for record in self._picks.last(count)]

    async def _refreshed(self) -> None:
        if self._refresh is not None:
            await self._refresh()

    async def _page(self, request: web.Request) -> web.Response:
        await self._refreshed()
        return _json(self._pages[request.path]())

    async def _explain(self, request: web.Request) -> web.Response:
        """Explain the body as if it had been sent to `?path=`, with the same hint headers."""
        path = request.query.get("path", _DEFAULT_PATH)
        answer = await self._explained(path, request.headers, await request.read())
        return web.Response(body=answer.body, status=answer.status, content_type="application/json")

    async def _own_explained(self, path: str, headers: Mapping[str, str], body: bytes) -> Explained:
        now_seconds = self._clock.monotonic_seconds()
        return explained(
            self._picks, path=path, headers=headers, body=body, now_seconds=now_seconds
        )


def _json(content: object, *, status: int = 200) -> web.Response:
    """Plain values as JSON; msgspec writes numbers that JSON lacks (inf, nan) as null."""
    body = msgspec.json.encode(content)
    return web.Response(body=body, status=status, content_type="application/json")


def _error(message: str) -> web.Response:
    return _json({"error": message}, status=400)
