"""Ten thousand mixed requests and three thousand streams at once, through the whole product."""

import asyncio
import random
import re
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from stack_files import MODEL, OTHER_MODEL
from stack_harness import CHAT, chat_body, replica, running_stack, steady

from loadtest.client import ReplayOptions, replay

pytestmark = [pytest.mark.envoy, pytest.mark.soak]

REQUESTS = 10_000
CLIENTS = 48
KILLED = "h100-1"
OVERFLOWS = "upstream_(rq|cx)_.*overflow"
FAILED_OPEN = "http.openai.ext_proc.headrace.failure_mode_allowed"


class Clients:
    """Requests of all kinds, in a fixed order that looks random.

    Attributes:
        sent: How many have begun.
        results: How many ended how, by kind.
    """

    def __init__(self, stack, *, seed):
        draws = random.Random(seed)
        self._kinds = [
            draws.choice(
                [
                    *(self.whole, self.whole, self.whole),
                    *(self.streamed, self.streamed, self.streamed),
                    self.hung_up_before_the_first_byte,
                    self.hung_up_mid_stream,
                    self.not_json,
                    self.unknown_model,
                ]
            )
            for _ in range(REQUESTS)
        ]
        self._pauses = [draws.uniform(0.0, 0.01) for _ in range(REQUESTS)]
        self._session = stack.client
        self.sent = 0
        self.results = Counter()

    async def run(self, *, until_sent):
        async def client():
            while self.sent < until_sent:
                number, self.sent = self.sent, self.sent + 1
                kind = self._kinds[number]
                self.results[kind.__name__, await kind(number)] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(client())

    def _body(self, number, **fields):
        model = OTHER_MODEL if number % 7 == 0 else MODEL
        return chat_body(20, salt=f"{number} ", **{"model": model, "max_tokens": 4, **fields})

    async def _status(self, **options):
        try:
            async with self._session.post(CHAT, **options) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return "broken off"

    async def whole(self, number):
        return await self._status(json=self._body(number))

    async def streamed(self, number):
        return await self._status(json=self._body(number, stream=True))

    async def not_json(self, number):
        return await self._status(data=b"{" * (number % 50))

    async def unknown_model(self, number):
        return await self._status(json=self._body(number, model="gpt-9"))

    async def hung_up_before_the_first_byte(self, number):
        body = self._body(number, max_tokens=2000)
        asking = asyncio.create_task(self._status(json=body))
        await asyncio.sleep(self._pauses[number])
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return "hung up"

    async def hung_up_mid_stream(self, number):
        body = self._body(number, max_tokens=2000, stream=True)
        try:
            async with self._session.post(CHAT, json=body) as answer:
                await answer.content.readany()
                answer.close()
        except aiohttp.ClientError:
            return "broken off"
        return "hung up"


def resident_bytes(pid):
    [kibibytes] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(kibibytes)


async def test_ten_thousand_mixed_requests_leave_every_account_empty(tmp_path):
    fleet = [
        replica("a100-0", "A100", stream_interval=50),
        *(replica(f"h100-{n}", "H100", (MODEL, OTHER_MODEL), stream_interval=50) for n in (0, 1)),
        replica("b200-0", "B200", stream_interval=50),
    ]
    resident = []
    # Four places at each: the requests are spread over all replicas, the killed one included.
    async with running_stack(tmp_path, fleet, max_running_requests=4) as stack:
        clients = Clients(stack, seed=11)
        killed = stack.fleet.server(KILLED)
        for part in range(1, 9):
            load = asyncio.create_task(clients.run(until_sent=part * REQUESTS // 8))
            if part % 2 == 0:
                while clients.sent < (part - 0.5) * REQUESTS / 8:
                    await asyncio.sleep(0.005)
                await killed.kill()
                await stack.until_health(KILLED, 0.0)
                await killed.start()
            await load
            if part % 4 == 0:
                resident.append(resident_bytes(stack.lane.router.pid))
        await stack.settled()
        streams = {
            outcome: await stack.metric("headrace_router_streams_total", outcome)
            for outcome in ("routed", "failed", "protocol_error", "rejected")
        }
        picks = await stack.picks_total()
        busy = await stack.lane.envoy.stats("upstream_rq_active$")
        failed_open = (await stack.lane.envoy.stats(FAILED_OPEN))[FAILED_OPEN]

    results = clients.results
    assert sum(results.values()) == REQUESTS
    assert {key for key in results if key[0] == "not_json"} == {("not_json", 400)}
    assert {key for key in results if key[0] == "unknown_model"} == {("unknown_model", 404)}
    lost = {key: count for key, count in results.items() if key[1] in ("broken off", 503)}
    assert sum(lost.values()) <= 4 * CLIENTS  # what four deaths can have cost at most
    fine = {200, 400, 404, "hung up"}
    assert {key[1] for key in results} <= fine | {"broken off", 503}

    assert streams["routed"] == picks > REQUESTS / 2
    assert streams["failed"] == streams["protocol_error"] == 0
    assert streams["rejected"] == sum(
        results[key] for key in (("not_json", 400), ("unknown_model", 404))
    )
    assert failed_open == 0
    assert set(busy.values()) == {0}
    halfway, at_the_end = resident
    assert at_the_end < 1.25 * halfway + 16e6


async def test_three_thousand_slow_streams_at_once_are_all_picked_and_all_served(tmp_path):
    streams = 3000
    fleet = [replica(f"h100-{n}", "H100", max_num_seqs=512) for n in range(8)]
    async with running_stack(
        tmp_path, fleet, time_scale=1.0, max_running_requests=512, scrape_interval_seconds=1.0
    ) as stack:
        engines = [stack.fleet.server(name).replica for name in stack.names]
        for engine in engines:
            engine.freeze()  # until all streams are open, none gets anywhere
        load = asyncio.create_task(
            replay(
                steady(streams, requests_per_second=250.0, prompt_tokens=20, output_tokens=8),
                base_url=stack.lane.base_url,
                options=ReplayOptions(),
            )
        )
        await stack.until_in_flight(streams, seconds=60)
        active = (await stack.lane.envoy.stats("upstream_rq_active$")).values()
        for engine in engines:
            engine.thaw()
        outcomes = await load
        await stack.settled()
        overflows = await stack.lane.envoy.stats(OVERFLOWS)
        failed_open = (await stack.lane.envoy.stats(FAILED_OPEN))[FAILED_OPEN]
        picks = await stack.picks_total()
        finished = sum(stack.finished().values())

    assert [it for it in outcomes if it.failure is not None] == []
    assert list(active) == [streams, streams]
    assert len(overflows) > 4
    assert set(overflows.values()) == {0}
    assert failed_open == 0
    assert picks == finished == streams
