"""Keeps Python's garbage collector from stopping requests.

A full collection looks at every container object of the process, with the interpreter's lock held:
the modules and the fleet alone are 50,000 to 130,000 objects, 50 ms in which no request gets on,
several times a minute under load (docs/decisions/0027-garbage-collection.md).
"""

import asyncio
import gc

_WARM_SECONDS = 10.0
"""After which connections are made and the first snapshots have been read."""
_YOUNG_PER_FULL = 100
"""Ten times Python's own. Requests leave next to no garbage that only a collection finds."""


def spare(loop: asyncio.AbstractEventLoop) -> None:
    """Leave what is there out of all collections, now and once more when the process is warm.

    What is left out still goes when nothing refers to it any more; only cycles among objects that
    are there now are never found.
    """
    first, second, _ = gc.get_threshold()
    gc.set_threshold(first, second, _YOUNG_PER_FULL)
    _spare()
    loop.call_later(_WARM_SECONDS, _spare)


def _spare() -> None:
    gc.collect()  # cycles that are garbage already would stay for ever
    gc.freeze()
