"""Whether the router as a whole may be sent requests: as long as one worker takes them."""

from fleet.snapshot import SnapshotHolder
from headrace.workers.crew import Crew
from router.extproc.health import Readiness


class CrewReadiness(Readiness):
    """The parent's answer to "may requests come?"."""

    def __init__(self, snapshots: SnapshotHolder, crew: Crew) -> None:
        """Ask `crew`."""
        super().__init__(snapshots)
        self._crew = crew

    def why_not(self) -> str | None:
        """One sentence when requests should not come, else None."""
        reason = super().why_not()
        if reason is None and not self._crew.ready:
            return "No worker takes requests."
        return reason
