"""The admission webhook: an HTTPS server that gates pods, and counts what it did."""

import asyncio
import logging
import ssl
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from capper.racks.admission import ReviewError, answer

_log = logging.getLogger(__name__)
PATH = "/mutate-pods"
# etcd takes objects of 1.5 MiB; a review holds one, and little else.
_MAX_BODY_BYTES = 4 * 1024 * 1024
_RELOAD_SECONDS = 30.0


class CertificateFilesError(Exception):
    """The certificate cannot be used; the sentence names the files."""


class Webhook:
    """Answers reviews until stopped.

    Attributes:
        port: Actual port, once started.
    """

    port: int

    def __init__(
        self, registry: CollectorRegistry, *, reload_seconds: float = _RELOAD_SECONDS
    ) -> None:
        """Count in `registry`; look for a renewed certificate every `reload_seconds`."""
        self._registry = registry
        self._reload_seconds = reload_seconds
        self._reviews = Counter(
            "headrace_webhook_reviews_total",
            "Pods that the webhook was asked about.",
            ["answer"],
            registry=registry,
        )
        for one in ("gated", "passed", "malformed"):
            self._reviews.labels(one)
        self._runner: web.AppRunner | None = None
        self._reloading: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, certificate: Path, key: Path) -> None:
        """Listen, with TLS: the API server talks to nobody without.

        Raises:
            CertificateFilesError: The files are no pair of certificate and key.
            OSError: The address is not to be had.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        _load(context, certificate, key)
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post(PATH, self._mutate)
        app.router.add_get("/healthz", _healthy)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        self.port = runner.addresses[0][1]
        self._reloading = asyncio.create_task(
            _reload(context, certificate, key, self._reload_seconds)
        )

    async def stop(self) -> None:
        """Answer what came, and end."""
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.gather(self._reloading, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _mutate(self, request: web.Request) -> web.Response:
        try:
            reply, gated = answer(await request.read())
        except ReviewError as error:
            self._reviews.labels("malformed").inc()
            return web.Response(status=400, text=f"{error}\n")
        self._reviews.labels("gated" if gated else "passed").inc()
        return web.json_response(reply)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise CertificateFilesError(
            f"{certificate} and {key}: must be a certificate and its key in PEM: {reason}."
        ) from error


async def _reload(
    context: ssl.SSLContext, certificate: Path, key: Path, period_seconds: float
) -> None:
    """Take a renewed certificate for the next connections: the context serves all of them."""
    seen = await asyncio.to_thread(_fingerprint, certificate, key)
    while True:
        await asyncio.sleep(period_seconds)
        now = await asyncio.to_thread(_fingerprint, certificate, key)
        if now in (seen, None):
            continue
        try:
            _load(context, certificate, key)
        except CertificateFilesError as error:
            _log.warning("the old certificate stays in force: %s", error)
            continue
        seen = now
        _log.info("a new certificate is in force")


def _fingerprint(*files: Path) -> tuple[tuple[int, int], ...] | None:
    try:
        return tuple((stat.st_ino, stat.st_mtime_ns) for stat in (file.stat() for file in files))
    except OSError:
        return None
