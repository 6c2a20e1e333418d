"""A board and what may be set on it. Pure."""

from dataclasses import dataclass


class RefusedError(Exception):
    """Something is not done to a board; the sentence names the board, the value and the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One GPU as NVML describes it.

    Attributes:
        uuid: "GPU-...".
        name: Product.
        clocks_hertz: Supported graphics clocks, ascending; empty: clocks cannot be locked.
        limit_watts: Power limit that was set when this was read; None: not supported.
        min_limit_watts: Lowest limit that may be set.
        max_limit_watts: Highest.
        mig: Whether it is cut into MIG instances.
    """

    uuid: str
    name: str = ""
    clocks_hertz: tuple[float, ...] = ()
    limit_watts: float | None = None
    min_limit_watts: float | None = None
    max_limit_watts: float | None = None
    mig: bool = False

    def at_most(self, hertz: float) -> float:
        """The highest supported clock that is not above `hertz`, or the lowest there is."""
        below = [clock for clock in self.clocks_hertz if clock <= hertz]
        return below[-1] if below else self.clocks_hertz[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a board is held to.

    Attributes:
        max_hertz: Highest graphics clock; None: not locked.
        limit_watts: Power limit; None: the one that was there before.
    """

    max_hertz: float | None = None
    limit_watts: float | None = None

    def tightened(self, other: "Setting") -> "Setting":
        """The lower of each: what satisfies both."""
        return Setting(
            max_hertz=lower(self.max_hertz, other.max_hertz),
            limit_watts=lower(self.limit_watts, other.limit_watts),
        )


FREE = Setting()


def fitted(
    wish: Setting, board: Board, *, original_watts: float | None
) -> tuple[Setting, tuple[str, ...]]:
    """(what is set of a wish, a sentence for each part that the board cannot do).

    Clocks are snapped down to supported ones. What is below the board's range becomes its lowest:
    whoever asks for it needs the watts. Nothing is set above what was there before.

    Args:
        wish: Asked for.
        board: Its ranges.
        original_watts: Power limit that was there before.

    Raises:
        RefusedError: The board can do nothing of it.
    """
    said: list[str] = []
    hertz = _fitted_clock(wish.max_hertz, board, said)
    watts = _fitted_limit(wish.limit_watts, board, original_watts, said)
    can_lock = wish.max_hertz is not None and bool(board.clocks_hertz)
    can_limit = wish.limit_watts is not None and _has_limit(board, original_watts)
    if wish != FREE and not (can_lock or can_limit):
        raise RefusedError(" ".join(said))
    return Setting(max_hertz=hertz, limit_watts=watts), tuple(said)


def fitted_safe(watts: float, board: Board, *, original_watts: float | None) -> float | None:
    """The safe limit that a board can hold; None where it has none."""
    least = board.min_limit_watts
    if least is None or original_watts is None:
        return None
    return min(max(watts, least), original_watts)


def _fitted_clock(hertz: float | None, board: Board, said: list[str]) -> float | None:
    clocks = board.clocks_hertz
    if hertz is None:
        return None
    if not clocks:
        said.append(f"{board.uuid}: its clocks cannot be locked.")
        return None
    if hertz < clocks[0]:
        said.append(
            f"{board.uuid}: {hertz / 1e6:.0f} MHz is below its lowest clock, "
            f"{clocks[0] / 1e6:.0f} MHz, which is set."
        )
    return None if hertz >= clocks[-1] else board.at_most(hertz)


def _has_limit(board: Board, original_watts: float | None) -> bool:
    return board.min_limit_watts is not None and original_watts is not None


def _fitted_limit(
    watts: float | None, board: Board, original_watts: float | None, said: list[str]
) -> float | None:
    least = board.min_limit_watts
    if watts is None:
        return None
    if least is None or original_watts is None:
        said.append(f"{board.uuid}: its power limit cannot be set.")
        return None
    if watts < least:
        said.append(
            f"{board.uuid}: {watts:.0f} W is below its lowest limit, {least:.0f} W, which is set."
        )
    return None if max(watts, least) >= original_watts else max(watts, least)


def lower(one: float | None, other: float | None) -> float | None:
    """The lower of two limits, of which None is none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
