"""How the operating system runs gRPC's own threads.

gRPC reads sockets in threads of its own and wakes the event loop for each message. By default Linux
lets a thread that wakes up interrupt the one that runs, so on a busy machine the event loop and
these threads take the processor from each other several times per request. Threads of the class
SCHED_BATCH wait until the running thread gives way, and find more to do at once.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

_NO_PRIORITY = 0  # static priority; the only one that these classes have


@contextlib.contextmanager
def batch_threads() -> Iterator[None]:
    """Threads that are started meanwhile do not interrupt others when they wake up.

    A thread inherits the class of the one that starts it, also from the threads started here. The
    calling thread is as before afterwards. Where that is not allowed, not Linux, or where an
    operator has chosen another class, nothing happens.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    changed = _set(os.SCHED_BATCH)
    try:
        yield
    finally:
        if changed:
            _set(os.SCHED_OTHER)


def _set(policy: int) -> bool:
    """Of the calling thread; needs no privilege, though a container may forbid it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(_NO_PRIORITY))
        return True
    return False
