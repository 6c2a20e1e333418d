"""When a status is written: at once when something happened, else now and then."""

from collections.abc import Sequence

from capper.operator.enrolment import Look
from capper.operator.entry import Entry
from capper.operator.journal import Journal
from capper.operator.report import TurnReport
from capper.operator.status import digest, refused_document, status_document
from fleet.clock import Clock


class StatusWriter:
    """Writes the statuses of all configurations of a loop."""

    def __init__(self, journal: Journal, clock: Clock, *, status_seconds: float) -> None:
        """Write to `journal`, what is not urgent every `status_seconds` at most."""
        self._journal = journal
        self._clock = clock
        self._status_seconds = status_seconds
        self._written: dict[str, tuple[str, float]] = {}

    async def write(
        self, entry: Entry, found: Look, report: TurnReport, problems: Sequence[str]
    ) -> None:
        """Write the status of a turn, if it is due."""
        document = status_document(
            entry, found, report, problems=problems, now_seconds=self._clock.epoch_seconds()
        )
        said = digest(document)
        before, written_seconds = self._written.get(entry.name, ("", float("-inf")))
        monotonic_seconds = self._clock.monotonic_seconds()
        due = monotonic_seconds - written_seconds >= self._status_seconds
        wanted = said != before or report.results or (due and document != entry.status)
        if wanted and await self._journal.write(entry.config, document):
            self._written[entry.name] = (said, monotonic_seconds)
            entry.status = document

    async def refuse(self, entry: Entry) -> None:
        """Write what is wrong with the newest configuration."""
        status = refused_document(entry, self._clock.epoch_seconds())
        if await self._journal.write(entry.config, status):
            entry.status = status

    def forget(self, name: str) -> None:
        """The configuration is gone."""
        self._written.pop(name, None)

    def clear(self) -> None:
        """All are."""
        self._written.clear()
