"""A way to the API server that writes down each request: the right it needed, the answer."""

import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import aiohttp
from aiohttp import web
from kube_cluster import write_kubeconfig

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


class Need(NamedTuple):
    """A right: one verb on one resource (with its subresource) of one group."""

    group: str
    resource: str
    verb: str


@dataclass(frozen=True)
class Asked:
    """One request and how it was answered; `need` is None where no resource was asked for."""

    need: Need | None
    path: str
    status: int


class Recorder:
    """Passes everything on to a control plane."""

    def __init__(self, plane, session):
        self._plane = plane
        self._session = session
        self._ssl = ssl.create_default_context(cafile=plane.ca_file) if plane.ca_file else False
        self.asked = []
        self.port = None

    def needs(self):
        """All that was asked for."""
        return {one.need for one in self.asked if one.need is not None}

    def refused(self):
        """What was not allowed."""
        return sorted({one.path for one in self.asked if one.status in {401, 403}})

    def kubeconfig(self, path, token, *, namespace):
        """A file that leads here."""
        plain = replace(self._plane, ca_file=None)
        return write_kubeconfig(path, plain, port=self.port, token=token, namespace=namespace)

    async def pass_on(self, request):
        plane = self._plane
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        async with self._session.request(
            request.method,
            f"{plane.scheme}://127.0.0.1:{plane.port}{request.raw_path}",
            headers=headers,
            data=await request.read() or None,
            ssl=self._ssl,
            skip_auto_headers=("Content-Type",),
        ) as answer:
            self.asked.append(Asked(need_of(request), request.path, answer.status))
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            reply = web.StreamResponse(status=answer.status, headers=kept)
            await reply.prepare(request)
            async for chunk in answer.content.iter_any():
                await reply.write(chunk)
            return reply


def need_of(request):
    """What RBAC is asked for a request."""
    parts = request.path.strip("/").split("/")
    in_core = parts[0] == "api"
    group = "" if in_core or len(parts) < 2 else parts[1]
    parts = parts[2 if in_core else 3 :]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    if not parts:
        return None
    verb = _VERBS.get(request.method)
    if verb is None:
        watches = request.query.get("watch") in {"true", "1"}
        verb = "get" if len(parts) > 1 else "watch" if watches else "list"
    return Need(group, "/".join([parts[0], *parts[2:]]), verb)


@asynccontextmanager
async def recorded(plane):
    """A recorder that listens."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session:
        recorder = Recorder(plane, session)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", recorder.pass_on)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        recorder.port = runner.addresses[0][1]
        try:
            yield recorder
        finally:
            await runner.cleanup()
