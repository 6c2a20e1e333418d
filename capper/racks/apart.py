"""A long computation in a process of its own: in a thread it would hold up the requests' loop."""

import asyncio
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

_ResultT = TypeVar("_ResultT")
_POLL_SECONDS = 0.1
_START = multiprocessing.get_context("spawn")  # gRPC does not survive a fork


class LostError(Exception):
    """The process ended without an answer, or took too long."""


async def apart(
    function: Callable[..., _ResultT], *arguments: Any, timeout_seconds: float
) -> _ResultT:
    """The result of a function of a module; arguments and result must be picklable.

    Raises:
        LostError: There is no answer.
    """
    receiver, sender = _START.Pipe(duplex=False)
    process = _START.Process(target=_run, args=(sender, function, arguments), daemon=True)
    await asyncio.to_thread(process.start)
    sender.close()
    try:
        async with asyncio.timeout(timeout_seconds):
            while not receiver.poll():  # noqa: ASYNC110 - a pipe of another process has no event
                await asyncio.sleep(_POLL_SECONDS)
            result: _ResultT = await asyncio.to_thread(receiver.recv)
    except TimeoutError as error:
        raise LostError(f"it took more than {timeout_seconds:g} s") from error
    except EOFError as error:
        raise LostError("its process ended without an answer") from error
    finally:
        process.terminate()
        await asyncio.to_thread(process.join)
        process.close()
        receiver.close()
    return result


def _run(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(function(*arguments))
