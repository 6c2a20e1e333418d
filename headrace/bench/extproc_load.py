"""A closed-loop HTTP/1.1 load, small enough not to be the bottleneck, and its requests.

Every connection sends the next request when the last is answered.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence

from headrace.bench.open_load import Connection, Parts

MODEL = "llama"
NUMBER = "#" * 12
"""What each request has its own number in place of, so that no two prompts begin alike."""

_PATH = "/v1/chat/completions"
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


def fresh_numbers() -> Iterator[int]:
    """Numbers of requests, from where no earlier load of this machine's uptime has counted to."""
    return itertools.count(int(time.perf_counter() * 1000) * 1000 % 10 ** len(NUMBER))


def numbered(parts: tuple[bytes, bytes], number: int) -> Parts:
    """The request of `request_parts` with its number."""
    return (parts[0], b"%0*d" % (len(NUMBER), number), parts[1])


class _Loop:
    """What all connections of one load do."""

    def __init__(self, parts: tuple[bytes, bytes], connections: int, ends_seconds: float) -> None:
        self._parts, self._numbers = parts, fresh_numbers()
        self._busy, self._ends_seconds = connections, ends_seconds
        self.latencies: list[float] = []
        self.failed = 0
        self.done = asyncio.Event()

    def send(self, connection: Connection, now_seconds: float) -> None:
        connection.send(numbered(self._parts, next(self._numbers)), now_seconds)

    def ended(self, connection: Connection, is_ok: bool) -> None:
        now_seconds = time.perf_counter()
        if is_ok:
            self.latencies.append(now_seconds - connection.began_seconds)
        else:
            self.failed += 1
        if now_seconds < self._ends_seconds and not connection.is_lost:
            self.send(connection, now_seconds)
            return
        self._busy -= 1
        if not self._busy:
            self.done.set()


async def generate(
    address: tuple[str, int], *, body_bytes: int, connections: int, seconds: float
) -> dict[str, float | int]:
    """Load for `seconds`; counts, wall and own CPU time, and latencies.

    Raises:
        OSError: When a connection is refused, or answers do not come in time.
    """
    loop = asyncio.get_running_loop()
    began_seconds, began_cpu_seconds = time.perf_counter(), time.process_time()
    load = _Loop(request_parts(body_bytes), connections, began_seconds + seconds)
    opened: list[Connection] = []
    try:
        for _ in range(connections):
            _, connection = await loop.create_connection(lambda: Connection(load.ended), *address)
            opened.append(connection)
            load.send(connection, time.perf_counter())
        async with asyncio.timeout(seconds + _GRACE_SECONDS):
            await load.done.wait()
    finally:
        for connection in opened:
            connection.close()
    elapsed_seconds = time.perf_counter() - began_seconds
    latencies = sorted(load.latencies)
    return {
        "requests": len(latencies),
        "failed_requests": load.failed,
        "elapsed_seconds": elapsed_seconds,
        "own_cpu_ratio": (time.process_time() - began_cpu_seconds) / elapsed_seconds,
        "latency_p50_seconds": quantile(latencies, 0.5),
        "latency_p99_seconds": quantile(latencies, 0.99),
    }


def quantile(ordered: Sequence[float], ratio: float) -> float:
    """The sample at `ratio` of the way through; 0 without samples."""
    return ordered[min(len(ordered) - 1, int(ratio * len(ordered)))] if ordered else 0.0
