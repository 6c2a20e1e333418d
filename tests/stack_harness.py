"""The whole product for tests: simulated replicas in place, real Envoy, the real router process.

Nothing is faked but the engines: requests go client -> Envoy -> (router decides) -> replica, over
sockets, and what came of them is read where an operator would read it.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import openai
from prometheus_client.parser import text_string_to_metric_families
from sim_vllm_harness import running_fleet
from stack_files import MODEL, exporter_urls, write_fleet
from telemetry_harness import PrometheusServer, until

from headrace.demo.lane import Lane, LanePlan
from headrace.envoy_plan import EnvoyTimeouts
from loadtest.arrivals import Arrival
from loadtest.fleet_spec import ReplicaSpec
from loadtest.prompts import chat_content_of_tokens
from loadtest.sim_fleet import SimFleet

CHAT = "/v1/chat/completions"
DEADLINE_SECONDS = 30.0
# Envoy sees a death within half a second; a busy machine is not mistaken for a dead replica.
TIMEOUTS = EnvoyTimeouts(
    health_interval_seconds=0.2, health_timeout_seconds=2.0, ext_proc_message_seconds=10.0
)
SCRAPE_SECONDS = 0.2


def replica(name: str, accelerator: str = "H100", models=(MODEL,), **settings) -> ReplicaSpec:
    """One simulated replica."""
    return ReplicaSpec(name=name, accelerator=accelerator, models=tuple(models), **settings)


def three_h100(**settings) -> list[ReplicaSpec]:
    """The smallest fleet that still leaves a choice when one of it is gone."""
    return [replica(f"h100-{index}", **settings) for index in range(3)]


class Stack:
    """A running stack. Replicas are called by their names.

    Attributes:
        fleet: The simulated replicas, with hooks to break them.
        lane: Router and Envoy.
        prometheus: The Prometheus, when there is one.
        client: Its relative URLs go to Envoy.
        folder: With the logs of all of them.
    """

    def __init__(self, fleet, lane, prometheus, client, admin, folder):
        self.fleet: SimFleet = fleet
        self.lane: Lane = lane
        self.prometheus: KillablePrometheus | None = prometheus
        self.client: aiohttp.ClientSession = client
        self.folder: Path = folder
        self._admin: aiohttp.ClientSession = admin
        self._names = {address: name for name, address in fleet.addresses.items()}

    @property
    def names(self) -> list[str]:
        return list(self._names.values())

    def openai(self) -> openai.AsyncOpenAI:
        """A client that never retries by itself; close it."""
        return openai.AsyncOpenAI(
            base_url=f"{self.lane.base_url}/v1", api_key="unused", max_retries=0
        )

    # Requests

    async def ask(self, body: object = None, *, path: str = CHAT, **options) -> tuple:
        """POST a request; its status, headers and JSON answer."""
        if not isinstance(body, bytes):
            options["json"] = chat_body() if body is None else body
        else:
            options["data"] = body
        async with self.client.post(path, **options) as answer:
            content = await answer.json(content_type="application/json")
            return answer.status, answer.headers, content

    async def open_stream(self, **fields) -> aiohttp.ClientResponse:
        """Start a streamed answer and wait for its first bytes; close the response."""
        body = chat_body(stream=True, **fields)
        answer = await self.client.post(CHAT, json=body)
        assert answer.status == 200, await answer.text()
        assert await answer.content.readany()
        return answer

    # What the router says

    async def admin(self, path: str):
        async with self._admin.get(f"{self.lane.admin_url}{path}") as answer:
            return await answer.json()

    async def metrics(self) -> Counter:
        """All samples by (name, label values sorted by label name)."""
        async with self._admin.get(f"{self.lane.admin_url}/metrics") as answer:
            text = await answer.text()
        return Counter(
            {
                (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    async def metric(self, name: str, *labels: str) -> float:
        """The sum of the samples that have all these label values."""
        return sum(
            value
            for (found, *values), value in (await self.metrics()).items()
            if found == name and set(labels) <= set(values)
        )

    async def picks_total(self) -> float:
        return await self.metric("headrace_router_picks_total")

    async def snapshot(self) -> dict[str, dict]:
        """The router's view of each replica."""
        view = await self.admin("/debug/snapshot")
        return {self._names[it["address"]]: it for it in view["replicas"]}

    async def in_flight(self) -> dict[str, int]:
        """The ledger."""
        return {name: it["ledger_running"] for name, it in (await self.snapshot()).items()}

    async def last_picks(self, count: int) -> Counter:
        """How many of the last `count` decisions named each replica."""
        picks = (await self.admin(f"/debug/picks?last={count}"))["picks"]
        return Counter(self._names[it["address"]] for it in picks if "address" in it)

    def router_log(self) -> str:
        return (self.folder / "lane/router.log").read_text(encoding="utf-8")

    # What is waited for

    async def until_in_flight(self, requests: int, *, seconds: float = DEADLINE_SECONDS) -> None:
        async def are_in_flight() -> bool:
            return sum((await self.in_flight()).values()) == requests

        await until(are_in_flight, seconds=seconds)

    async def settled(self) -> None:
        """Every account is empty, no stream is open, no engine has work left."""
        await self.until_in_flight(0)

        async def is_quiet() -> bool:
            return not await self.metric("headrace_router_streams_open") and not self.engines_busy()

        await until(is_quiet, seconds=DEADLINE_SECONDS)
        snapshot = await self.snapshot()
        assert not any(it["ledger_running"] for it in snapshot.values())
        assert not await self.metric("headrace_router_requests_in_flight")

    async def until_health(self, name: str, ratio: float) -> None:
        """The router has seen that a replica is up (1) or down (0)."""

        async def is_seen() -> bool:
            signal_ = (await self.snapshot())[name]["signals"].get("healthy_ratio")
            return signal_ is not None and signal_["value"] == ratio

        await until(is_seen, seconds=DEADLINE_SECONDS)

    async def until_envoy_sees(self, *, healthy_replicas: int, routers: int = 1) -> None:
        """Envoy's health checks have come to this."""

        async def is_seen() -> bool:
            stats = await self.lane.envoy.stats("membership_healthy")
            return (
                stats["cluster.replicas.membership_healthy"] == healthy_replicas
                and stats["cluster.ext_proc.membership_healthy"] == routers
            )

        await until(is_seen, seconds=DEADLINE_SECONDS)
        if routers:
            await self.until_routed()

    async def until_routed(self) -> None:
        """Requests reach the router. Envoy's workers hear of health up to a second after it."""

        async def is_answered_by_the_router() -> bool:
            *_, content = await self.ask(b"{")
            return content["error"]["code"] == "invalid_json"

        await until(is_answered_by_the_router, seconds=DEADLINE_SECONDS)

    # The engines

    def engines_busy(self) -> int:
        """Requests running or waiting in all engines."""
        return sum(self.engine_requests(name) for name in self.names)

    def engine_requests(self, name: str) -> int:
        engine = self.fleet.server(name).replica.engine
        return engine.running + engine.waiting

    def finished(self) -> dict[str, int]:
        """Requests that each replica has answered so far."""
        return {
            name: totals.finished_requests for name, totals in self.fleet.totals().replicas.items()
        }

    async def kill_router(self) -> None:
        self.lane.router.send_signal(signal.SIGKILL)
        await self.lane.router.wait()


class SteadyLoad:
    """Requests at a steady rate until it is left, as an async context manager.

    Attributes:
        sent: How many have begun.
        results: How many ended how; all of them once it has been left. "whole" is well.
    """

    def __init__(self, stack: Stack, *, requests_per_second: float, body_of=None):
        self.sent = 0
        self.results: Counter = Counter()
        self._session = stack.client
        self._pause_seconds = 1.0 / requests_per_second
        self._body_of = body_of or (lambda number: chat_body(salt=f"{number} "))
        self._stopping = asyncio.Event()

    async def __aenter__(self):
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_exc_info):
        self._stopping.set()
        await self._sending

    async def _send(self):
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping.is_set():
                tasks.create_task(self._one(self._body_of(self.sent)))
                self.sent += 1
                await asyncio.sleep(self._pause_seconds)

    async def _one(self, body: dict):
        try:
            async with self._session.post(CHAT, json=body) as answer:
                content = await answer.read()
        except aiohttp.ClientError as error:
            self.results[repr(error)] += 1
            return
        ending = b"data: [DONE]\n\n" if body.get("stream") else b"}"
        whole = answer.status == 200 and content.endswith(ending)
        self.results["whole" if whole else (answer.status, content[:200])] += 1


class KillablePrometheus(PrometheusServer):
    """A Prometheus that can die and come back on its port."""

    async def kill(self) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.wait, 20)
        self._process = None


@contextlib.asynccontextmanager
async def running_stack(  # noqa: PLR0913 - one switch for each part that tests vary
    folder: Path,
    replicas: Sequence[ReplicaSpec],
    *,
    time_scale: float = 20.0,
    policy: str = "dispatch",
    with_prometheus: bool = False,
    scrape_interval_seconds: float | None = SCRAPE_SECONDS,
    max_running_requests: int = 256,
    timeouts: EnvoyTimeouts = TIMEOUTS,
    may_wait: bool = True,
    workers: int = 1,
) -> AsyncIterator[Stack]:
    """Start everything; all of it serves inside, nothing of it is left outside."""
    async with contextlib.AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(running_fleet(*replicas, time_scale=time_scale))
        prometheus = None
        if with_prometheus:
            jobs = {
                "vllm": (tuple(fleet.addresses.values()), {}),
                "dcgm": (tuple(fleet.exporter_addresses.values()), {}),
            }
            (folder / "prometheus").mkdir()
            prometheus = KillablePrometheus(folder / "prometheus", jobs)
            stack.push_async_callback(prometheus.stop)
            await prometheus.start()
        lane = await stack.enter_async_context(
            Lane(
                LanePlan(
                    fleet_path=write_fleet(
                        folder, fleet, max_running_requests=max_running_requests
                    ),
                    folder=folder / "lane",
                    policy=policy,
                    prometheus_url=prometheus and prometheus.url,
                    exporter_urls=tuple(exporter_urls(fleet)),
                    scrape_interval_seconds=scrape_interval_seconds,
                    timeouts=timeouts,
                    admission={} if may_wait else {"max_waiting_requests": 0},
                    workers=workers,
                )
            )
        )
        client, admin = [
            await stack.enter_async_context(
                aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0))
            )
            for url in (lane.base_url, None)
        ]
        yield Stack(fleet, lane, prometheus, client, admin, folder)


def chat_body(
    prompt_tokens: int = 40, *, model: str = MODEL, max_tokens: int = 16, salt: str = "", **fields
) -> dict:
    """A chat request that is answered with exactly `max_tokens`."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": chat_content_of_tokens(prompt_tokens, salt=salt)}],
        "max_tokens": max_tokens,
        "ignore_eos": True,
        **fields,
    }


def steady(
    count: int,
    *,
    requests_per_second: float,
    output_tokens: int = 40,
    prompt_tokens: int = 60,
    models: Sequence[str] = (MODEL,),
) -> list[Arrival]:
    """Evenly spaced arrivals that take the models in turn."""
    return [
        Arrival(
            index / requests_per_second, prompt_tokens, output_tokens, models[index % len(models)]
        )
        for index in range(count)
    ]


def error_of(content: dict) -> dict:
    """OpenAI's error object, checked for its form."""
    assert set(content) == {"error"}
    error = content["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    return error
