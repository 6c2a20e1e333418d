"""What goes along with a configuration as advice: asked once a turn, never waited for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from capper.api.config import PowerCappingConfig
from capper.api.smoothing_block import SmoothingStatus
from capper.api.vertical_block import VerticalStatus
from capper.decide.policy import Policy
from capper.decide.smoothing_hints import Hint

Held = tuple[bool, str, str]
"""Whether a condition holds, its reason, and a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Of one configuration.

    Attributes:
        conditions: By type.
        extra_watts: Target -> watts by which its next replica differs from the running ones.
        smoothing: For status.
        vertical: For status.
    """

    conditions: Mapping[str, Held] = field(default_factory=lambda: MappingProxyType({}))
    extra_watts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    smoothing: SmoothingStatus | None = None
    vertical: tuple[VerticalStatus, ...] = ()


class Adviser(Protocol):
    """Knows something of configurations that a turn takes into account."""

    def look(self, name: str, config: PowerCappingConfig, policy: Policy) -> Advice:
        """What is known now of "namespace/name"; `policy` has the targets and caps of this turn."""
        ...

    def hints(self, name: str, service: str) -> tuple[Hint, ...]:
        """Racks for one more replica of "Kind/namespace/workload", the best first, if known."""
        ...

    def placed(self, name: str, service: str, leaf: str) -> None:
        """A new replica was given a rack: the next hints know of it."""
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

    def hints(self, name: str, service: str) -> tuple[Hint, ...]:
        """See Adviser."""
        del name, service
        return ()

    def placed(self, name: str, service: str, leaf: str) -> None:
        """See Adviser."""

    def forget(self, name: str) -> None:
        """See Adviser."""

    async def aclose(self) -> None:
        """See Adviser."""
