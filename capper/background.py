"""What several configurations have going on in the background, each in a task of its own."""

import asyncio
from typing import Generic, Protocol, TypeVar


class HasTask(Protocol):
    """One configuration's work; `task` is None while nothing goes on."""

    task: asyncio.Task[None] | None


Source = TypeVar("Source", bound=HasTask)


class Background(Generic[Source]):
    """By name.

    Attributes:
        sources: The work of each configuration.
    """

    def __init__(self) -> None:
        """Nothing goes on."""
        self.sources: dict[str, Source] = {}

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [one.task for one in self.sources.values() if one.task is not None]

    async def settled(self) -> None:
        """Wait until nothing goes on."""
        await asyncio.gather(*self._tasks(), return_exceptions=True)

    def forget(self, name: str) -> None:
        """Stop what goes on for a configuration."""
        source = self.sources.pop(name, None)
        if source is not None and source.task is not None:
            source.task.cancel()

    async def aclose(self) -> None:
        """Stop everything."""
        tasks = self._tasks()
        for name in tuple(self.sources):
            self.forget(name)
        await asyncio.gather(*tasks, return_exceptions=True)
