"""Replicas on loopback addresses that say what they serve, for pods that tests make up."""

from contextlib import asynccontextmanager

from aiohttp import web
from telemetry_harness import free_port


class Replicas:
    """HTTP servers on 127.0.1.N, all with one port, as the pods of a pool have."""

    def __init__(self):
        self.port = free_port()
        self.adapters = ()
        self.asked = 0
        self._runners = {}

    async def open(self, number):
        """Listen; returns the pod's IP."""
        ip = f"127.0.1.{number}"
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, ip, self.port).start()
        self._runners[number] = runner
        return ip

    async def close(self):
        for runner in self._runners.values():
            await runner.cleanup()

    async def _models(self, _request):
        self.asked += 1
        cards = [{"id": "llama-8b", "root": "meta-llama/Llama-3.1-8B", "parent": None}]
        cards += [{"id": name, "parent": "llama-8b"} for name in self.adapters]
        return web.json_response({"object": "list", "data": cards})


@asynccontextmanager
async def open_replicas():
    replicas = Replicas()
    try:
        yield replicas
    finally:
        await replicas.close()
