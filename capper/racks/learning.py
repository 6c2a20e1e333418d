"""Learning the matrix from Prometheus' history, in the background and now and then."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

from capper.api.room_blocks import Placement
from capper.decide.heat_learning import Learned, learn
from capper.decide.steady_states import Series, steady_states
from capper.racks.apart import LostError, apart
from fleet.clock import Clock
from telemetry.promql import PrometheusQuerier, QueryError
from telemetry.query_answers import RangeRow

_log = logging.getLogger(__name__)
_RELEARN_SECONDS = 6 * 3600.0
_RETRY_SECONDS = 600.0
_STEP_SECONDS = 60.0
_PATIENCE_SECONDS = 1800.0
_MOST_POINTS = 10_000  # Prometheus gives 11,000 of one series at most

_WATTS = " or on (rack) ".join(
    f'max by (rack) (capper:rack_watts{{source="{one}"}})' for one in ("pdu", "bmc", "boards")
)
_INLETS = "capper:rack_inlet_celsius"
_SUPPLY = "capper:supply_celsius"


class Learning:
    """Learns for one configuration.

    Attributes:
        learned: The last answer; None: none yet.
    """

    def __init__(self, clock: Clock) -> None:
        """Nothing is learned."""
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._due_seconds = -math.inf
        self.learned: Learned | None = None

    def look(self, racks: Sequence[str], placement: Placement, querier: PrometheusQuerier) -> None:
        """Begin to learn when that is due; returns at once."""
        now_seconds = self._clock.monotonic_seconds()
        busy = self._task is not None and not self._task.done()
        if busy or now_seconds < self._due_seconds:
            return
        self._due_seconds = now_seconds + _RETRY_SECONDS
        self._task = asyncio.create_task(self._learn(tuple(racks), placement, querier))

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _learn(
        self, racks: tuple[str, ...], placement: Placement, querier: PrometheusQuerier
    ) -> None:
        end = self._clock.epoch_seconds()
        queries = placement.queries
        asked = (
            queries.power_watts or _WATTS,
            queries.inlet_celsius or _INLETS,
            queries.supply_celsius or _SUPPLY,
        )
        step = max(_STEP_SECONDS, placement.history_seconds / _MOST_POINTS)
        try:
            watts, inlets, supply = await asyncio.gather(
                *(
                    querier.ranges().ask(
                        text,
                        start_epoch_seconds=end - placement.history_seconds,
                        end_epoch_seconds=end,
                        step_seconds=step,
                    )
                    for text in asked
                )
            )
        except QueryError as error:
            _log.warning("the history of the racks cannot be asked for: %s", error)
            self.learned = Learned(refusal=f"Prometheus does not tell: {error}")
            return
        history = (_by_rack(watts, queries.label), _by_rack(inlets, queries.label), _one(supply))
        try:
            self.learned = await apart(
                learned_from, racks, *history, timeout_seconds=_PATIENCE_SECONDS
            )
        except LostError as error:
            self.learned = Learned(refusal=f"learning failed: {error}")
        if self.learned.model is not None:
            self._due_seconds = self._clock.monotonic_seconds() + _RELEARN_SECONDS


def learned_from(
    racks: Sequence[str],
    watts: Mapping[str, Series],
    inlets: Mapping[str, Series],
    supply: Series,
) -> Learned:
    """What a history says."""
    if not supply:
        return Learned(refusal="the supply temperature has no history")
    return learn(racks, steady_states(racks, watts, inlets, supply))


def _by_rack(rows: Sequence[RangeRow], label: str) -> dict[str, Series]:
    return {row.labels.get(label, ""): dict(row.points) for row in rows}


def _one(rows: Sequence[RangeRow]) -> Series:
    return dict(rows[0].points) if len(rows) == 1 else {}
