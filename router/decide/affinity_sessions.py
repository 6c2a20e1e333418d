"""Where each session was served last, and how much of its conversation lies there. Pure."""

from collections import OrderedDict
from enum import StrEnum
from typing import NamedTuple


class SessionVerdict(StrEnum):
    """What became of a request's session."""

    NEW = "new"  # not seen before, or too long ago
    KEPT = "kept"  # served where it was served last
    BROKEN_GONE = "broken_gone"  # that replica is gone, unhealthy, avoided or outside the subset
    BROKEN_GUARD = "broken_guard"  # that replica would be late
    BROKEN_DEARER = "broken_dearer"  # it is to be emptied, and staying would cost more joules


class Home(NamedTuple):
    """Where a session was served last.

    Attributes:
        address: The replica.
        prompt_tokens: Of its last request there.
        answer_tokens: Expected of its last answer.
        blocks: Hashed blocks of that prompt; 0 when it was not to be seen.
        at_seconds: When (monotonic).
    """

    address: str
    prompt_tokens: float
    answer_tokens: float
    blocks: int
    at_seconds: float


class Sessions:
    """The homes of the sessions seen lately; the longest unseen is forgotten first."""

    __slots__ = ("_homes", "idle_seconds", "most_sessions")

    def __init__(self, *, most_sessions: int, idle_seconds: float) -> None:
        """Empty."""
        self.most_sessions = most_sessions
        self.idle_seconds = idle_seconds
        self._homes: OrderedDict[int, Home] = OrderedDict()

    def __len__(self) -> int:
        """Sessions remembered."""
        return len(self._homes)

    def home(self, model: str, session: str, *, now_seconds: float) -> Home | None:
        """Where a session of a model was served last, unless that is too long ago."""
        home = self._homes.get(hash((model, session)))
        if home is None or now_seconds - home.at_seconds > self.idle_seconds:
            return None
        return home

    def settle_at(self, model: str, session: str, home: Home) -> None:
        """A request of the session was sent there."""
        key = hash((model, session))
        self._homes[key] = home
        self._homes.move_to_end(key)
        while len(self._homes) > self.most_sessions:
            self._homes.popitem(last=False)
