"""What is awaited to its end gets there, and its task learns of a cancellation then."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.extproc import to_its_end as limits
from router.extproc.to_its_end import to_its_end


class Operation:
    """Awaits futures one after the other and keeps what became of it."""

    def __init__(self, count):
        loop = asyncio.get_running_loop()
        self.futures = [loop.create_future() for _ in range(count)]
        self.saw = []

    async def run(self, fails=False):
        try:
            for future in self.futures:
                await asyncio.sleep(0)
                self.saw.append(await future)
        except asyncio.CancelledError:
            self.saw.append("cancelled")
            raise
        if fails:
            raise ValueError("its own")
        return sum(self.saw)


async def some_turns():
    for _ in range(5):
        await asyncio.sleep(0)


@given(
    cancels=st.lists(st.sampled_from(["never", "before it is done", "after"]), max_size=4),
    fails=st.booleans(),
)
def test_an_operation_is_never_cancelled_and_its_task_is_once_it_has_ended(cancels, fails):
    async def story():
        operation = Operation(len(cancels))
        task = asyncio.ensure_future(to_its_end(operation.run(fails)))
        cancelled = False
        await some_turns()
        for number, (future, when) in enumerate(zip(operation.futures, cancels, strict=True)):
            if when == "before it is done":
                cancelled = task.cancel()
                await some_turns()
            assert not task.done()
            assert not future.cancelled()
            future.set_result(number)
            if when == "after":  # the task is on its way, but not yet awake
                cancelled = task.cancel()
            await some_turns()
        await asyncio.wait((task,), timeout=1.0)
        assert operation.saw == list(range(len(cancels)))
        return task, cancelled

    task, cancelled = asyncio.run(story())
    assert task.cancelled() is cancelled
    if not cancelled and fails:
        with pytest.raises(ValueError, match="its own"):
            task.result()
    elif not cancelled:
        assert task.result() == sum(range(len(cancels)))


async def test_an_error_of_a_future_is_the_operations():
    operation = Operation(1)
    task = asyncio.ensure_future(to_its_end(operation.run()))
    await some_turns()
    operation.futures[0].set_exception(KeyError("the future's"))
    with pytest.raises(KeyError, match="the future's"):
        await task


async def test_a_task_that_is_cancelled_gets_no_error_in_its_place():
    operation = Operation(1)
    task = asyncio.ensure_future(to_its_end(operation.run()))
    await some_turns()
    task.cancel()
    operation.futures[0].set_exception(KeyError("the future's"))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_does_not_end_is_cancelled_all_the_same(monkeypatch):
    """A loop that closes cancels its tasks and waits for them."""
    monkeypatch.setattr(limits, "_LIMIT_SECONDS", 0.01)
    operation = Operation(2)
    task = asyncio.ensure_future(to_its_end(operation.run()))
    await some_turns()
    task.cancel()
    await some_turns()
    assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert operation.saw == ["cancelled"]


async def test_it_takes_as_many_turns_of_the_loop_as_without():
    """Each message of each request would pay for another one."""

    async def turns(awaited):
        taken = 0
        task = asyncio.ensure_future(awaited)
        while not task.done():
            await asyncio.sleep(0)
            taken += 1
        return taken

    async def operation():
        loop = asyncio.get_running_loop()
        for _ in range(10):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    assert await turns(to_its_end(operation())) == await turns(operation())
