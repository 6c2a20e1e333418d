"""`headrace bench extproc` for real, as short as it gets: Envoy, floors, router, upstream, load."""

import asyncio
import contextlib
import random
from dataclasses import replace
from itertools import repeat

import pytest
from rich.console import Console
from telemetry_harness import until

from headrace.bench import lanes
from headrace.bench.children import upstream
from headrace.bench.extproc_figures import BARE, FLOOR, ROUTER, TUNED
from headrace.bench.extproc_grid import SCRAPE_SECONDS, Grid
from headrace.bench.extproc_load import fresh_numbers, numbered, request_parts
from headrace.bench.extproc_run import measure
from headrace.bench.extproc_servers import start_server
from headrace.bench.open_load import OpenLoad
from headrace.bench.soak_upstream import HOLD
from headrace.child_process import end
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess

pytestmark = pytest.mark.envoy

GRID = Grid(
    fleets=(2,),
    body_bytes=(512, 100_000),
    connections=(2,),
    rounds=1,
    window_seconds=0.2,
    rest_seconds=0.2,
    workers=(),
)
ARMS = {512: [BARE, FLOOR, TUNED, ROUTER], 100_000: [BARE, FLOOR, ROUTER]}
MESSAGES = {EnvoyBodyMode.BUFFERED: 2, EnvoyBodyMode.FULL_DUPLEX: 4}
"""Fewest of a request, each way: headers and body; in full duplex of the response too."""


@pytest.mark.parametrize("mode", EnvoyBodyMode)
def test_every_request_of_every_arm_is_answered_by_way_of_its_server(mode):
    report = asyncio.run(measure(replace(GRID, modes=(mode,)), Console(quiet=True)))
    assert report["failures"] == []
    cells = {(cell["body_bytes"], cell["connections"]): cell for cell in report["cells"]}
    assert set(cells) == {(512, 2), (100_000, 2), (220_000, 20), (512, None)}
    for (size, _), cell in cells.items():
        assert [one["arm"] for one in cell["figures"]] == ARMS.get(size, ARMS[100_000])
        assert all(one["failed_requests"] == 0 for one in cell["figures"])
        assert all(one["requests_per_second"] > 0 for one in cell["figures"])
        for one in cell["figures"][1:]:
            assert one["envoy_p50_seconds"] > 0
            counts = one["messages_to_server"], one["messages_from_server"]
            assert min(counts) >= MESSAGES[mode]
            if mode is EnvoyBodyMode.BUFFERED:
                assert counts == (2, 2)
    assert [one["arm"] for one in report["usage"]] == [FLOOR, TUNED, ROUTER]
    assert all(one["peak_bytes"] >= one["rest_bytes"] > 2**20 for one in report["usage"])
    assert len(report["reach"]) == 16


async def test_large_prompts_wait_for_room_and_are_not_refused(tmp_path):
    """100 MB of them, whose answers never end: a router lets 64 MiB wait by default."""
    mode, parts = EnvoyBodyMode.BUFFERED, request_parts(1_000_000, header=HOLD)
    async with contextlib.AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(upstream("soak_upstream", 2))
        server = await start_server(ROUTER, tmp_path, addresses, mode)
        stack.push_async_callback(end, server.process, grace_seconds=5.0)
        bootstrap = lanes.bootstrap(addresses, server.targets, mode)
        envoy = await stack.enter_async_context(EnvoyProcess(bootstrap, EnvoyOptions()))
        load = OpenLoad(
            envoy.listener_address(),
            requests=(numbered(parts, number) for number in fresh_numbers()),
            gaps_seconds=repeat(0.005),
            draws=random.Random(1),
        )
        await load.run(9.5 * 0.005)
        await asyncio.sleep(SCRAPE_SECONDS + 1)  # until they are known to fill the KV caches
        await load.run(99.5 * 0.005)

        async def has_come():
            [messages] = (await envoy.stats(r"ext_proc\..*stream_msgs_sent$")).values()
            return messages == 2 * load.counts.sent  # headers and body

        await until(has_come, seconds=20)
        await load.drain(1.0)
        assert (load.counts.failed, load.counts.open) == (0, 110)
