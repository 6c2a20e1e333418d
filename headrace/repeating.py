"""What a process does by itself, again and again."""

import asyncio
import logging
from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)

Work = Callable[[], Iterable[None] | None]


def start_repeating(*works: tuple[Work, float]) -> list[asyncio.Task[None]]:
    """A task for each work, with the seconds from the end of one time to the next."""
    return [
        asyncio.create_task(repeat(work, every_seconds=seconds), name=work.__name__)
        for work, seconds in works
    ]


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel all, and return when all have ended."""
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def repeat(work: Work, *, every_seconds: float) -> None:
    """For ever. A fault is logged and does not end it: requests go on with what is known.

    Args:
        work: Done at once, or step by step with others in between.
        every_seconds: From the end of one time to the beginning of the next.
    """
    while True:
        try:
            for _ in work() or ():
                await asyncio.sleep(0)
        except Exception:  # noqa: BLE001 - supervisor: see above
            _log.exception("%s failed", work.__name__)
        await asyncio.sleep(every_seconds)
