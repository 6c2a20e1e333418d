"""Replicas and exporters that only have a `/metrics` page, on many loopback addresses.

Run as a process of its own: prints as one line of JSON where they are and serves until it is
ended. `GET /served` tells at any of the addresses what was served by all of them.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import cast

import uvloop

from headrace.bench.scrape_exposition import BOARDS_PER_NODE, Page, dcgm_page, vllm_page

_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: %d\r\n"
    b"content-type: text/plain; version=1.0.0; charset=utf-8\r\n\r\n"
)
_END_OF_HEADERS = b"\r\n\r\n"
_HOSTS_PER_NET = 250


class _Served:
    """What all addresses have served together."""

    def __init__(self) -> None:
        self.start_seconds = time.monotonic()
        self.connections = 0
        self.pages = 0
        self.page_bytes = 0

    def to_json(self) -> bytes:
        told = {
            "connections": self.connections,
            "pages": self.pages,
            "page_bytes": self.page_bytes,
        }
        return json.dumps(told).encode()


class _Target(asyncio.Protocol):
    """Requests one after the other on a kept connection."""

    def __init__(self, page: Page, served: _Served) -> None:
        self._transport: asyncio.WriteTransport
        self._page = page
        self._served = served
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not say that they are of the type that they are like.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._served.connections += 1

    def data_received(self, data: bytes) -> None:
        self._head += data
        while _END_OF_HEADERS in self._head:
            head, _, self._head = self._head.partition(_END_OF_HEADERS)
            if head.startswith(b"GET /served"):
                body = self._served.to_json()
            else:
                body = self._page.at(time.monotonic() - self._served.start_seconds)
                self._served.pages += 1
                self._served.page_bytes += len(body)
            self._transport.write(_HEAD % len(body) + body)


async def serve(replicas: int) -> None:
    """Listen, say where, and serve."""
    served = _Served()
    uuids = board_uuids(replicas)
    nodes = [uuids[n : n + BOARDS_PER_NODE] for n in range(0, replicas, BOARDS_PER_NODE)]
    pages = [vllm_page(0.5 + number % 10 / 10) for number in range(replicas)]
    hosts = _hosts()
    told = {
        "replicas": [await _listen(next(hosts), page, served) for page in pages],
        "exporters": [await _listen(next(hosts), dcgm_page(node), served) for node in nodes],
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def board_uuids(replicas: int) -> tuple[str, ...]:
    """One board per replica."""
    return tuple(f"GPU-{number:08d}-aaaa-bbbb-cccc-000000000000" for number in range(replicas))


async def _listen(host: str, page: Page, served: _Served) -> str:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Target(page, served), host, 0)
    name, port = server.sockets[0].getsockname()
    return f"{name}:{port}"


def _hosts() -> Iterator[str]:
    number = 0
    while True:
        yield f"127.1.{number // _HOSTS_PER_NET}.{number % _HOSTS_PER_NET + 1}"
        number += 1


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
