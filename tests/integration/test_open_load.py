"""The open-loop load: requests begin when they are due, whatever becomes of those before them."""

import asyncio
import contextlib
import random
from itertools import repeat

import pytest

from headrace.bench.open_load import OpenLoad

REQUEST = (b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", b"{}")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
GAP_SECONDS = 0.005


class Upstream:
    """Answers every request with the same bytes, or never."""

    def __init__(self, answer):
        self._answer = answer
        self.connections = self.requests = 0
        self._open = set()

    async def __call__(self, reader, writer):
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"{}"):
                self.requests += 1
                if self._answer is not None:
                    writer.write(self._answer)

    def close(self):
        for writer in self._open:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(answer):
    upstream = Upstream(answer)
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    try:
        yield upstream, server.sockets[0].getsockname()
    finally:
        upstream.close()
        server.close()


def load_of(address, **options):
    return OpenLoad(
        address,
        requests=repeat(REQUEST),
        gaps_seconds=repeat(GAP_SECONDS),
        draws=random.Random(1),
        **options,
    )


async def test_answered_requests_share_connections_and_are_timed():
    async with serving(ANSWER) as (upstream, address):
        load = load_of(address, keep_times=True)
        await load.run(20.5 * GAP_SECONDS)
        await load.drain(5.0)
        load.close()
    counts = load.counts
    assert (counts.sent, counts.answered, counts.failed, counts.open) == (21, 21, 0, 0)
    assert len(counts.latencies_seconds) == len(counts.late_seconds) == 21
    assert all(seconds > 0 for seconds in counts.latencies_seconds)
    assert upstream.requests == 21
    assert upstream.connections < 21


async def test_requests_begin_though_none_is_answered():
    async with serving(None) as (upstream, address):
        load = load_of(address)
        await load.run(20.5 * GAP_SECONDS)
        await load.drain(0.05)
        assert (load.counts.sent, load.counts.open) == (21, 21)
        assert upstream.connections == 21
    await load.drain(5.0)
    assert (load.counts.failed, load.counts.open) == (21, 0)


@pytest.mark.parametrize("answer", [REFUSAL, b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"])
async def test_other_answers_than_200_have_failed(answer):
    async with serving(answer) as (_upstream, address):
        load = load_of(address, keep_times=True)
        await load.run(5.5 * GAP_SECONDS)
        await load.drain(5.0)
        load.close()
    assert (load.counts.failed, load.counts.answered) == (load.counts.sent, 0) == (6, 0)
    assert load.counts.latencies_seconds == []


async def test_clients_that_hang_up_are_neither_answered_nor_failed():
    async with serving(None) as (_upstream, address):
        load = load_of(address, hang_up_ratio=1.0, hang_up_seconds=0.01)
        await load.run(10.5 * GAP_SECONDS)
        await load.drain(5.0)
    assert (load.counts.hung_up, load.counts.failed, load.counts.open) == (11, 0, 0)


async def test_a_listener_that_is_gone_fails_every_request():
    async with serving(ANSWER) as (_upstream, address):
        pass
    load = load_of(address)
    await load.run(5.5 * GAP_SECONDS)
    await load.drain(5.0)
    assert (load.counts.failed, load.counts.open) == (6, 0)
