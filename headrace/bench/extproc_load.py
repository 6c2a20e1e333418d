"""A closed-loop HTTP/1.1 load generator, small enough not to be the bottleneck.

Every connection sends the next request when the last is answered. Run as a process of its own:
prints one line of JSON.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import cast

import uvloop

MODEL = "llama"
NUMBER = "#" * 12
"""What each request has its own number in place of, so that no two prompts begin alike."""

_PATH = "/v1/chat/completions"
_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"
_LAST_CHUNK = b"0\r\n\r\n"
_OK = b"HTTP/1.1 200"
_GRACE_SECONDS = 30.0


def chat_body(size: int) -> bytes:
    """A chat request of about `size` bytes, and at least of its own frame, with `NUMBER` in it."""
    frame = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": NUMBER}]}
    text = "All work and no play makes a dull benchmark. "
    missing = max(0, size - len(json.dumps(frame)))
    content = (text * (missing // len(text) + 1))[:missing]
    frame["messages"] = [{"role": "user", "content": NUMBER + content}]
    return json.dumps(frame).encode()


def request_parts(body_bytes: int, *, header: bytes = b"") -> tuple[bytes, bytes]:
    """A request, what is before its number and what is after it.

    Args:
        body_bytes: See `chat_body`.
        header: Name of one more header, whose value is 1.
    """
    body = chat_body(body_bytes)
    head = (
        f"POST {_PATH} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
    ).encode()
    more = header + b": 1\r\n" if header else b""
    before, _, after = (head + more + b"\r\n" + body).partition(NUMBER.encode())
    return before, after


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, parts: tuple[bytes, bytes], numbers: Iterator[int], ends_seconds: float
    ) -> None:
        self._before, self._after = parts
        self._numbers, self._ends_seconds = numbers, ends_seconds
        self._transport: asyncio.WriteTransport
        self._sent_seconds = 0.0
        self._answer = b""
        self.latencies: list[float] = []
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not say that they are of the type that they are like.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            self.failed += 1
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_complete(self._answer):
            return
        now_seconds = time.perf_counter()
        if self._answer.startswith(_OK):
            self.latencies.append(now_seconds - self._sent_seconds)
        else:
            self.failed += 1
        self._answer = b""
        if now_seconds < self._ends_seconds:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._sent_seconds = time.perf_counter()
        number = b"%0*d" % (len(NUMBER), next(self._numbers))
        self._transport.writelines((self._before, number, self._after))


def _is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(_END_OF_HEADERS)
    if not end:
        return False
    lowered = head.lower()
    start = lowered.find(_LENGTH)
    if start < 0:
        return body.endswith(_LAST_CHUNK)
    return len(body) >= int(lowered[start + len(_LENGTH) :].partition(b"\r")[0])


async def generate(
    host: str, port: int, *, body_bytes: int, concurrency: int, seconds: float
) -> dict[str, float | int]:
    """Load for `seconds`; counts, wall and own CPU time, and latencies."""
    parts = request_parts(body_bytes)
    loop = asyncio.get_running_loop()
    # From where no earlier load of this machine's uptime has counted to.
    numbers = itertools.count(int(time.perf_counter() * 1000) * 1000 % 10 ** len(NUMBER))
    began_seconds, began_cpu_seconds = time.perf_counter(), time.process_time()
    ends_seconds = began_seconds + seconds
    clients = [
        (await loop.create_connection(lambda: _Client(parts, numbers, ends_seconds), host, port))[1]
        for _ in range(concurrency)
    ]
    async with asyncio.timeout(seconds + _GRACE_SECONDS):
        await asyncio.gather(*(client.done for client in clients))
    elapsed_seconds = time.perf_counter() - began_seconds
    latencies = sorted(it for client in clients for it in client.latencies)
    return {
        "requests": len(latencies),
        "failed_requests": sum(client.failed for client in clients),
        "elapsed_seconds": elapsed_seconds,
        "own_cpu_ratio": (time.process_time() - began_cpu_seconds) / elapsed_seconds,
        "latency_p50_seconds": quantile(latencies, 0.5),
        "latency_p99_seconds": quantile(latencies, 0.99),
    }


def quantile(ordered: Sequence[float], ratio: float) -> float:
    """The sample at `ratio` of the way through; 0 without samples."""
    return ordered[min(len(ordered) - 1, int(ratio * len(ordered)))] if ordered else 0.0


def _main(arguments: Sequence[str]) -> None:
    host, port, body_bytes, concurrency, seconds = arguments
    answer = uvloop.run(
        generate(
            host,
            int(port),
            body_bytes=int(body_bytes),
            concurrency=int(concurrency),
            seconds=float(seconds),
        )
    )
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
