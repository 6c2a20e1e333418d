"""Gives memory that C code has freed back to the operating system.

glibc keeps what was freed for who asks next, in one heap per thread. A router with hundreds of
streams in flight has freed some 10 MB at any time, which nobody else on the machine can use.
"""

import asyncio
import ctypes
from collections.abc import Callable
from contextlib import suppress

_INTERVAL_SECONDS = 5.0


def give_back(loop: asyncio.AbstractEventLoop) -> None:
    """Do so every few seconds, in a thread, as long as `loop` runs; without glibc nothing."""
    with suppress(OSError, AttributeError):
        trim = ctypes.CDLL(None).malloc_trim
        loop.call_later(_INTERVAL_SECONDS, _round, loop, trim)


def _round(loop: asyncio.AbstractEventLoop, trim: Callable[[int], int]) -> None:
    loop.run_in_executor(None, trim, 0)
    loop.call_later(_INTERVAL_SECONDS, _round, loop, trim)
