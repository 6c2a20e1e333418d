"""What a process does by itself, again and again."""

import asyncio
import logging
from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)


async def repeat(work: Callable[[], Iterable[None] | None], *, every_seconds: float) -> None:
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
