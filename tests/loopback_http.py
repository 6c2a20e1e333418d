"""A handler behind an HTTP server on loopback."""

from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served_at(handler, path="/{path:.*}"):
    """The address of a server that answers every method at a path with a handler."""
    application = web.Application()
    application.router.add_route("*", path, handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
