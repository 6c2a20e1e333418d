"""An upstream whose answers are streamed for some seconds, for `headrace bench soak`.

Run as a process of its own, as extproc_upstream: prints its addresses as one line of JSON and
serves until it is ended. What its metrics tell is what it does.
"""

import asyncio
import random
import sys
from functools import partial

import uvloop

from headrace.bench.extproc_upstream import Upstream, serve, vllm_metrics

HOLD = b"x-bench-hold"
"""A request with this header gets the head of an answer and nothing more."""
CHUNK_SECONDS = 0.5
CHUNKS = (4, 12)
"""Fewest and most chunks of an answer; evenly spread, so the mean answer takes 4 s."""

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"rock"}}]}\n\n'
_CHUNK = b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT)
_LAST_CHUNK = b"0\r\n\r\n"
_TOKENS_PER_CHUNK = 16


class _Replica:
    """What one address does."""

    __slots__ = ("running", "tokens_total")

    def __init__(self) -> None:
        self.running = 0
        self.tokens_total = 0


class _Streaming(Upstream):
    """One connection of one replica."""

    def __init__(self, replica: _Replica, draws: random.Random) -> None:
        super().__init__()
        self._replica, self._draws = replica, draws
        self._missing_chunks = 0
        self._is_running = False
        self._timer: asyncio.TimerHandle | None = None

    def answer(self, head: bytes) -> None:
        self._is_running = True
        self._replica.running += 1
        self._missing_chunks = self._draws.randint(*CHUNKS)
        self.transport.write(_HEAD)
        if HOLD not in head.lower():
            self._wait()

    def metrics(self) -> bytes:
        return vllm_metrics(running=self._replica.running, tokens_total=self._replica.tokens_total)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._end()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(CHUNK_SECONDS, self._write_chunk)

    def _write_chunk(self) -> None:
        self._replica.tokens_total += _TOKENS_PER_CHUNK
        self._missing_chunks -= 1
        if self._missing_chunks:
            self.transport.write(_CHUNK)
            self._wait()
        else:
            self.transport.write(_CHUNK + _LAST_CHUNK)
            self._end()

    def _end(self) -> None:
        if self._is_running:
            self._is_running = False
            self._replica.running -= 1


def _main(count: int) -> None:
    draws = random.Random(0)  # noqa: S311 - lengths of answers, not secrets
    uvloop.run(serve(partial(_Streaming, _Replica(), draws) for _ in range(count)))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
