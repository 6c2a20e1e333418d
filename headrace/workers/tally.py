"""What one worker has counted, over all processes that it has been. Pure.

A counter may not fall: what a process had told before it died stays, and the next one's is added.
"""

from collections.abc import Mapping

from headrace.workers.families import lasting
from headrace.workers.messages import Family, Page, unpack_series
from headrace.workers.series import summed
from router.metering.series import Key, Sums


class Tally:
    """Of one worker.

    Attributes:
        entered: Requests entered in the ledger.
        settled: Requests settled in it, those that others released when a process died included.
        matched: Access-log entries that ended a request.
        expired: Requests whose entry did not come.
    """

    def __init__(self) -> None:
        """Nothing was told."""
        self._page: Page | None = None
        self._series: dict[Key, Sums] = {}
        self._past: list[Family] = []
        self._past_series: dict[Key, Sums] = {}
        self._past_requests = self._past_matched = self._past_expired = 0
        self.entered = self.settled = self.matched = self.expired = 0

    def take(self, page: Page) -> None:
        """The newest of the process that is there now."""
        self._page = page
        self._series = unpack_series(page.series)
        self.entered = self._past_requests + page.entered
        self.settled = self._past_requests + page.settled
        self.matched = self._past_matched + page.matched
        self.expired = self._past_expired + page.expired

    def end(self) -> None:
        """The process has ended; its requests are nobody's, and have ended for the others too."""
        if self._page is not None:
            self._past = lasting(self._past, self._page.families)
            self._past_series = summed([self._past_series, self._series])
        self._page, self._series = None, {}
        self.settled = self._past_requests = self.entered
        self._past_matched, self._past_expired = self.matched, self.expired

    def families(self) -> tuple[list[Family], ...]:
        """Of the processes before, and of the one that is there."""
        return (self._past,) if self._page is None else (self._past, self._page.families)

    def series(self) -> tuple[Mapping[Key, Sums], ...]:
        """Likewise."""
        return self._past_series, self._series
