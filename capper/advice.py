"""What goes along with a configuration as advice: asked once a turn, never waited for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from capper.api.config import PowerCappingConfig
from capper.api.smoothing_block import SmoothingStatus
from capper.api.vertical_block import VerticalStatus
from capper.decide.policy import Policy
from capper.decide.smoothing_hints import PeakBoard

Held = tuple[bool, str, str]
"""Whether a condition holds, its reason, and a sentence."""


def _no_board() -> PeakBoard | None:
    return None


def _nothing(_uid: str, _service: str, _rack: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Of one configuration.

    Attributes:
        conditions: By type.
        extra_watts: Target -> watts by which its next replica differs from the running ones.
        smoothing: For status.
        vertical: For status.
        board: Gives the weekly peaks of racks as of now; None: not known.
        placed: Is told the uid of a new replica's pod, its service and its rack, so that the next
            one's peaks have it; the same pod counts once.
    """

    conditions: Mapping[str, Held] = field(default_factory=lambda: MappingProxyType({}))
    extra_watts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    smoothing: SmoothingStatus | None = None
    vertical: tuple[VerticalStatus, ...] = ()
    board: Callable[[], PeakBoard | None] = _no_board
    placed: Callable[[str, str, str], None] = _nothing

    @property
    def peaks(self) -> PeakBoard | None:
        """Weekly peaks now, new replicas included; None: not known."""
        return self.board()


class Adviser(Protocol):
    """Knows something of configurations that a turn takes into account."""

    def look(self, name: str, config: PowerCappingConfig, policy: Policy) -> Advice:
        """What is known now of "namespace/name"; `policy` has the targets and caps of this turn."""
        ...

    def forget(self, name: str) -> None:
        """A configuration is gone."""
        ...

    async def aclose(self) -> None:
        """Stop whatever goes on in the background."""
        ...


class NoAdviser:
    """Nobody to ask."""

    def look(self, name: str, config: PowerCappingConfig, policy: Policy) -> Advice:
        """See Adviser."""
        del name, config, policy
        return Advice()

    def forget(self, name: str) -> None:
        """See Adviser."""

    async def aclose(self) -> None:
        """See Adviser."""
