"""What the parent tells of all workers together, beside their metrics."""

from collections.abc import Callable
from typing import Any

from headrace.workers.access_logs import LogForwarder
from headrace.workers.crew import Crew
from headrace.workers.series import SummedSeries, summed


class Told:
    """Asks the workers, and adds up."""

    def __init__(
        self,
        crew: Crew,
        forwarder: LogForwarder,
        series: SummedSeries,
        catch_up: Callable[[], None],
    ) -> None:
        """Tell of these.

        Args:
            crew: The workers.
            forwarder: Of access-log entries to them.
            series: Where the parent's meter finds the sums of ended requests.
            catch_up: Brings the parent's ledger up to now.
        """
        self._crew = crew
        self._forwarder = forwarder
        self._series = series
        self._catch_up = catch_up

    async def refresh(self) -> None:
        """Bring what the workers have counted up to now."""
        self._forwarder.mark()
        await self._crew.pages()
        self._catch_up()
        parts = [part for worker in self._crew.workers for part in worker.tally.series()]
        self._series.show(summed(parts))

    def counted(self) -> dict[str, dict[str, float]]:
        """Of families in which no process can tell its own part from the others'."""
        tallies = [worker.tally for worker in self._crew.workers]
        matched = sum(tally.matched for tally in tallies)
        return {
            "headrace_router_ledger_entered": {"": sum(tally.entered for tally in tallies)},
            "headrace_router_ledger_settled": {"": sum(tally.settled for tally in tallies)},
            "headrace_router_access_log_entries": {
                "matched": matched,
                "unmatched": self._forwarder.unmatched(matched),
                "expired": sum(tally.expired for tally in tallies),
            },
        }

    def workers(self) -> dict[str, Any]:
        """Each of them, for /debug/workers."""
        return {
            "workers": [
                {
                    "worker": worker.index,
                    "pid": worker.pid,
                    "addresses": worker.addresses,
                    "ready": worker.standing.ready,
                    "snapshot_version": worker.standing.version,
                    "requests_in_flight": worker.standing.own,
                    "requests_known": worker.standing.known,
                    "restarts": worker.restarts_total,
                }
                for worker in self._crew.workers
            ]
        }
