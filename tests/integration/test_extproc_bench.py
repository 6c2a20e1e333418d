"""`headrace bench extproc` for real, as short as it gets: Envoy, floor, router, upstream, load."""

import asyncio

from rich.console import Console

from headrace.bench.extproc import Grid, measure
from headrace.bench.extproc_figures import ARMS
from headrace.envoy_plan import EnvoyBodyMode

GRID = Grid(
    fleets=(2,),
    modes=(EnvoyBodyMode.FULL_DUPLEX,),
    body_bytes=(512, 100_000),
    concurrencies=(2,),
    rounds=1,
    window_seconds=0.3,
)


def test_every_request_of_every_arm_is_answered_by_way_of_its_server():
    report = asyncio.run(measure(GRID, Console(quiet=True)))
    assert len(report["cells"]) == 2
    for cell in report["cells"]:
        assert [one["arm"] for one in cell["figures"]] == list(ARMS)
        assert all(one["failed_requests"] == 0 for one in cell["figures"])
        assert all(one["requests_per_second"] > 0 for one in cell["figures"])
    assert [one["arm"] for one in report["memory"]] == ["floor", "router"]
    assert all(one["peak_bytes"] > 2**20 for one in report["memory"])
