"""A rule as a case that can be run, and how modules of cases collect theirs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace.conformance.lab import Lab
from headrace.conformance.verdicts import Level, Source
from headrace.conformance.wire import BodyMode

Play = Callable[[Lab], Awaitable[None]]

BOTH = (BodyMode.FULL_DUPLEX, BodyMode.BUFFERED)
DUPLEX = (BodyMode.FULL_DUPLEX,)
BUFFERED = (BodyMode.BUFFERED,)
ANY: tuple[BodyMode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A rule and how it is tried.

    Attributes:
        name: Of the case.
        level: How binding the rule is.
        source: Where it comes from.
        rule: A sentence.
        modes: Body modes in which it is tried; empty when bodies play no part.
        play: Returns when the rule is kept.
    """

    name: str
    level: Level
    source: Source
    rule: str
    modes: tuple[BodyMode, ...]
    play: Play


class CaseList(list[Case]):
    """The cases of a module, in their order."""

    def add(
        self,
        name: str,
        level: Level,
        source: Source,
        rule: str,
        *,
        modes: tuple[BodyMode, ...] = BOTH,
    ) -> Callable[[Play], Play]:
        """Make a function a case."""

        def register(play: Play) -> Play:
            self.append(
                Case(name=name, level=level, source=source, rule=rule, modes=modes, play=play)
            )
            return play

        return register
