"""An upstream that answers at once, with vLLM's metrics too, on many loopback addresses.

Run as a process of its own: prints its addresses as one line of JSON and serves until it is ended.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from typing import cast

import uvloop

_ANSWER_BODY = b'{"id":"bench","object":"chat.completion","choices":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_ANSWER_BODY),
    _ANSWER_BODY,
)
_METRICS_BODY = b"".join(
    b'vllm:%s{model_name="llama",engine="0"} %d\n' % (name, value)
    for name, value in (
        (b"num_requests_running", 2),
        (b"num_requests_waiting", 0),
        (b"kv_cache_usage_perc", 0),
        (b"generation_tokens_total", 1000),
    )
)
_METRICS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: %d\r\n\r\n%s"
    % (len(_METRICS_BODY), _METRICS_BODY)
)
_END_OF_HEADERS = b"\r\n\r\n"
_GET_METRICS = b"GET /metrics"
_LENGTH = b"content-length:"
_LAST_CHUNK = b"0\r\n\r\n"
_HOSTS_PER_NET = 250


class Upstream(asyncio.Protocol):
    """Requests one after the other on a kept connection; bodies are counted, not kept."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport
        self._head = b""
        self._missing_bytes: int | None = None  # None: in headers or in chunks
        self._tail: bytes | None = None  # the end of what came of a chunked body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        # uvloop's transports do not say that they are of the type that they are like.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        if self._missing_bytes is not None:
            self._take_body(len(data))
        elif self._tail is not None:
            self._take_chunks(data)
        else:
            self._take_head(data)

    def _take_head(self, data: bytes) -> None:
        self._head += data
        head, end, body = self._head.partition(_END_OF_HEADERS)
        if not end:
            return
        self._head = b""
        if head.startswith(b"GET "):
            is_scrape = head.startswith(_GET_METRICS)
            self.transport.write(self.metrics() if is_scrape else self.document(head))
            return
        self.begin(head)
        lowered = head.lower()
        start = lowered.find(_LENGTH)
        if start >= 0:
            digits = lowered[start + len(_LENGTH) :].partition(b"\r")[0]
            self._missing_bytes = int(digits)
            self._take_body(len(body))
        elif b"transfer-encoding: chunked" in lowered:
            self._tail = b""
            self._take_chunks(body)
        else:
            self._end_of_request()

    def _take_body(self, size: int) -> None:
        assert self._missing_bytes is not None
        self._missing_bytes -= size
        if self._missing_bytes <= 0:
            self._end_of_request()

    def _take_chunks(self, data: bytes) -> None:
        assert self._tail is not None
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        if self._tail == _LAST_CHUNK:
            self._end_of_request()

    def _end_of_request(self) -> None:
        self._missing_bytes = self._tail = None
        self.answer()

    def begin(self, head: bytes) -> None:
        """A request whose header is known begins."""

    def answer(self) -> None:
        """Answer the request that has come whole."""
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
