"""`headrace bench extproc` for real, as short as it gets: Envoy, floors, router, upstream, load."""

import asyncio
from dataclasses import replace

import pytest
from rich.console import Console

from headrace.bench.extproc_figures import BARE, FLOOR, ROUTER, TUNED
from headrace.bench.extproc_grid import Grid
from headrace.bench.extproc_run import measure
from headrace.envoy_plan import EnvoyBodyMode

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
