"""Scripted exporters and a real Prometheus, for the tests of telemetry."""

import asyncio
import shutil
import socket
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
import yaml
from aiohttp import web

from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Replica

SCRAPE_INTERVAL = "200ms"


def fleet_of(*replicas, gpus_per_replica=1):
    return Fleet(
        (
            Backend(
                name="b",
                accelerator="H100",
                gpus_per_replica=gpus_per_replica,
                parameters=8e9,
                profile=prior_profile("H100", parameters=8e9),
                replicas=replicas,
            ),
        )
    )


def replica_at(address, **changes):
    return replace(Replica(address=address, backend="b", models=("m",)), **changes)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ManualClock:
    """Both clocks, moved by hand."""

    def __init__(self, monotonic_seconds=1000.0, epoch_seconds=1_700_000_000.0):
        self.monotonic, self.epoch = monotonic_seconds, epoch_seconds

    def advance(self, seconds):
        self.monotonic += seconds
        self.epoch += seconds

    def monotonic_seconds(self):
        return self.monotonic

    def epoch_seconds(self):
        return self.epoch


class Exporter:
    """An HTTP server whose answer a test writes; keeps its port over stop and start."""

    def __init__(self):
        self.port = free_port()
        self.body = ""
        self.status = 200
        self.hangs = False
        self.hits = 0
        self._runner = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.address}/metrics"

    @property
    def is_up(self):
        return self._runner is not None

    def expose(self, *lines, status=200, hangs=False):
        self.body, self.status, self.hangs = "\n".join(lines) + "\n", status, hangs

    async def start(self):
        application = web.Application()
        application.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self):
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _answer(self, _request):
        self.hits += 1
        if self.hangs:
            await asyncio.sleep(30)
        return web.Response(
            status=self.status,
            text=self.body,
            headers={"Content-Type": "text/plain; version=0.0.4"},
        )


@asynccontextmanager
async def exporters(count):
    started = [Exporter() for _ in range(count)]
    try:
        for exporter in started:
            await exporter.start()
        yield started
    finally:
        for exporter in started:
            await exporter.stop()


class PrometheusServer:
    """The real binary, scraping given targets several times a second."""

    def __init__(
        self, folder, jobs, *, interval=SCRAPE_INTERVAL, timeout=SCRAPE_INTERVAL, keeps="10m"
    ):
        """Jobs: name -> (addresses, labels of the target); keeps: how long samples stay."""
        self.binary = shutil.which("prometheus")
        if self.binary is None:
            pytest.skip(
                "NO prometheus ON PATH: the source that asks it is NOT TESTED "
                "(apt install prometheus)"
            )
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._keeps = keeps
        self._process = None
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": timeout},
            "scrape_configs": [
                {
                    "job_name": job,
                    "body_size_limit": "1MB",
                    "static_configs": [{"targets": list(addresses), "labels": labels}],
                }
                for job, (addresses, labels) in jobs.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    async def start(self):
        self._launch()
        async with aiohttp.ClientSession() as session:
            await until(lambda: self._is_ready(session), seconds=30)

    def _launch(self):
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self.binary,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    f"--storage.tsdb.retention.time={self._keeps}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )

    async def stop(self):
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, 20)
            self._process = None

    async def _is_ready(self, session):
        try:
            async with session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


async def until(condition, *, seconds=10.0):
    """Wait until an asynchronous condition returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        result = await condition()
        if result:
            return result
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.05)
