"""Configurations from files, for a fleet without Kubernetes."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capper.api.files import InvalidConfigError, parse
from capper.loop import CappingLoop
from capper.operator.leaving import RestoreError
from headrace.config_errors import BadInputError, load_documents

_log = logging.getLogger(__name__)


class LocalCapper:
    """Follows configuration files; a file that is changed counts from the next turn on."""

    def __init__(self, loop: CappingLoop, paths: tuple[Path, ...], period_seconds: float) -> None:
        """Read the files once.

        Raises:
            BadInputError: When one cannot be used.
        """
        self._loop = loop
        self._paths = paths
        self._period_seconds = period_seconds
        self._documents = _read(paths)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take the configurations up and begin to turn."""
        for document in self._documents.values():
            await self._loop.put(document)
        self._tasks = [
            asyncio.create_task(self._loop.run(), name="capping loop"),
            asyncio.create_task(self._watch(), name="capping files"),
        ]

    async def stop(self) -> None:
        """Stop turning."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def leads(self) -> bool:
        """There is nobody else."""
        return True

    async def _watch(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(self._period_seconds)
            try:
                documents = _read(self._paths)
            except BadInputError as error:
                if str(error) != said:
                    _log.warning("%s The last good configurations stay in force.", error)
                said = str(error)
                continue
            said = ""
            await self._take(documents)

    async def _take(self, documents: Mapping[str, Any]) -> None:
        for name in self._documents.keys() - documents.keys():
            try:
                await self._loop.remove(self._documents[name])
            except RestoreError as error:
                _log.warning("%s: %s", name, error)
                documents = {**documents, name: self._documents[name]}
        for name, document in documents.items():
            if document != self._documents.get(name):
                try:
                    await self._loop.put(document)
                except RestoreError as error:
                    _log.warning("%s: %s", name, error)
                    continue  # tried again at the next look
            self._documents[name] = document
        for name in self._documents.keys() - documents.keys():
            del self._documents[name]


def _read(paths: tuple[Path, ...]) -> dict[str, Any]:
    """All configurations of the files, by "namespace/name"."""
    found: dict[str, Any] = {}
    for path in paths:
        for document in load_documents(path):
            try:
                metadata = parse(document).metadata
            except InvalidConfigError as error:
                sentences = [f"{path}: {problem}" for problem in error.problems]
                raise BadInputError(*sentences) from error
            name = f"{metadata.namespace}/{metadata.name}"
            if name in found:
                raise BadInputError(f"{path}: {name} is given twice.")
            found[name] = document
    return found
