"""Replicas and exporters that only have a `/metrics` page, on many loopback addresses.

Run as a process of its own, as extproc_upstream: prints its addresses as one line of JSON, those of
exporters last, and serves until it is ended. `GET /served` tells at any of the addresses what was
served by all of them.
"""

import asyncio
import json
import sys
import time
from functools import partial

import uvloop

from headrace.bench.extproc_upstream import Upstream, serve
from headrace.bench.http_messages import answer
from headrace.bench.scrape_exposition import BOARDS_PER_NODE, Page, dcgm_page, vllm_page

_CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


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


class _Target(Upstream):
    """One connection."""

    def __init__(self, page: Page, served: _Served) -> None:
        super().__init__()
        self._page, self._served = page, served

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._served.connections += 1

    def metrics(self) -> bytes:
        body = self._page.at(time.monotonic() - self._served.start_seconds)
        self._served.pages += 1
        self._served.page_bytes += len(body)
        return answer(body, _CONTENT_TYPE)

    def document(self, _head: bytes) -> bytes:
        return answer(self._served.to_json())


def board_uuids(replicas: int) -> tuple[str, ...]:
    """One board per replica."""
    return tuple(f"GPU-{number:08d}-aaaa-bbbb-cccc-000000000000" for number in range(replicas))


def _main(replicas: int) -> None:
    served, uuids = _Served(), board_uuids(replicas)
    pages = [vllm_page(0.5 + number % 10 / 10) for number in range(replicas)]
    pages += [
        dcgm_page(uuids[n : n + BOARDS_PER_NODE]) for n in range(0, replicas, BOARDS_PER_NODE)
    ]
    uvloop.run(serve(partial(_Target, page, served) for page in pages))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
