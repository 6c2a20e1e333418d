"""An upstream that answers at once, with vLLM's metrics too, on many loopback addresses.

Run as a process of its own: prints its addresses as one line of JSON and serves until it is ended.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from typing import cast

import uvloop

from headrace.bench.http_messages import MessageReader, answer

ANSWER = answer(b'{"id":"bench","object":"chat.completion","choices":[]}')
_GET, _GET_METRICS = b"GET ", b"GET /metrics"
_HOSTS_PER_NET = 250


def vllm_metrics(*, running: int, tokens_total: int) -> bytes:
    """The answer to a scrape."""
    values = (
        (b"num_requests_running", running),
        (b"num_requests_waiting", 0),
        (b"kv_cache_usage_perc", 0),
        (b"generation_tokens_total", tokens_total),
    )
    lines = (b'vllm:%s{model_name="llama",engine="0"} %d\n' % it for it in values)
    return answer(b"".join(lines), b"text/plain; version=0.0.4")


_METRICS = vllm_metrics(running=2, tokens_total=1000)


class Upstream(asyncio.Protocol):
    """Requests one after the other on a kept connection; bodies are counted, not kept."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport
        self._reader = MessageReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        # uvloop's transports do not say that they are of the type that they are like.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        if not self._reader.feed(data):
            return
        head, self._reader = self._reader.head, MessageReader()
        if head.startswith(_GET_METRICS):
            self.transport.write(self.metrics())
        elif head.startswith(_GET):
            self.transport.write(self.document(head))
        else:
            self.answer(head)

    def answer(self, _head: bytes) -> None:
        """Answer a POST that has come whole."""
        self.transport.write(ANSWER)

    def metrics(self) -> bytes:
        """The answer to a scrape."""
        return _METRICS

    def document(self, _head: bytes) -> bytes:
        """The answer to another GET."""
        return ANSWER


async def serve(factories: Iterable[Callable[[], asyncio.Protocol]]) -> None:
    """Listen on 127.0.x.y, one address per factory, say where, and serve."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(
            factory, f"127.0.{n // _HOSTS_PER_NET}.{n % _HOSTS_PER_NET + 1}", 0
        )
        for n, factory in enumerate(factories)
    ]
    names = [server.sockets[0].getsockname() for server in servers]
    sys.stdout.write(json.dumps([f"{host}:{port}" for host, port in names]) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve([Upstream] * int(sys.argv[1])))
