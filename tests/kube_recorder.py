"""A door to the API server that notes who asked for what: (group, resource, verb)."""

import contextlib
import re
import ssl

import aiohttp
from aiohttp import web

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/[^/]+)?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_FORWARDED = {"Authorization", "Content-Type", "Accept"}


@contextlib.asynccontextmanager
async def recording(plane):
    """Plain HTTP on a port of its own: yields (port, set of what was asked)."""
    asked = set()
    tls = ssl.create_default_context(cafile=plane.ca_file) if plane.ca_file else False
    base = f"{plane.scheme}://127.0.0.1:{plane.port}"
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request):
            _note(request, asked)
            headers = {name: request.headers[name] for name in _FORWARDED & set(request.headers)}
            headers["Accept-Encoding"] = "identity"
            async with session.request(
                request.method,
                base + request.path_qs,
                headers=headers,
                data=await request.read() or None,
                ssl=tls,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                reply = web.StreamResponse(
                    status=answer.status,
                    headers={"Content-Type": answer.headers.get("Content-Type", "text/plain")},
                )
                await reply.prepare(request)
                with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                    async for chunk in answer.content.iter_any():
                        await reply.write(chunk)
                    await reply.write_eof()
                return reply

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield runner.addresses[0][1], asked
        finally:
            await runner.cleanup()


def _note(request, asked):
    match = _PATH.match(request.path)
    if match is None:
        return  # discovery
    verb = _VERBS.get(request.method)
    if verb is None:
        verb = "get" if match["name"] else "watch" if request.query.get("watch") else "list"
    resource = match["resource"] + (f"/{match['part']}" if match["part"] else "")
    asked.add((match["group"] or "", resource, verb))
