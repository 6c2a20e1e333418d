"""Joins a picker to those of the other workers."""

import secrets

from router.decide.picker import Picker
from router.workers.board import Board
from router.workers.mirror import Mirror

TICK_SECONDS = 0.02
"""Between two ticks of a mirror."""

_SEEDS = 2**32


def join(board: Board, index: int | None, picker: Picker) -> Mirror:
    """From now on `picker` repeats what the other workers do, and tells them what it does.

    Before the first pick, and after the ledger's listener is in place.

    Args:
        board: The shared memory.
        index: Which worker this is; None for their parent, which picks nothing, sees all of them
            and chooses the committed sets for all.
        picker: Of this process.
    """
    me = board.workers if index is None else index
    mirror = Mirror(
        picker,
        board.writer(me),
        [board.reader(other, reader=me) for other in range(board.rings) if other != me],
        leads=index is None,
    )
    picker.peers = mirror
    return mirror


def hash_seed() -> str:
    """A PYTHONHASHSEED for all workers: hashes of prompts must mean the same in each of them.

    Drawn anew for every start, as Python does itself, and kept for workers that are started again.
    """
    return str(1 + secrets.randbelow(_SEEDS - 1))
