import asyncio

import pytest

from telemetry.slices import in_slices


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
async def test_slices_are_the_items_and_others_get_their_turn_in_between(count):
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    parts = [part async for part in in_slices(range(count), size=10)]
    task.cancel()
    assert [one for part in parts for one in part] == list(range(count))
    assert all(0 < len(part) <= 10 for part in parts)
    assert turns >= len(parts) - 1
