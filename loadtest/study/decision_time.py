"""How long a decision takes on this machine, inside a simulation.

Wall time, and so never among the figures of a report: all else that a study measures is in
simulated time and the same everywhere.
"""

import time
from dataclasses import dataclass

from loadtest.simulator.histogram import LogHistogram
from loadtest.study.jobs import Job, simulation_of
from router.decide.outcome import Pick, Rejection
from router.decide.picker import Picker
from router.decide.request_facts import RequestFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionTime:
    """Wall time of the decisions of one run, entering the ledger included.

    Attributes:
        arm: Whose.
        picks: How many were timed.
        p50_seconds: Quantile; None when there were none.
        p99_seconds: Likewise.
    """

    arm: str
    picks: int
    p50_seconds: float | None
    p99_seconds: float | None


class _TimedPicker(Picker):
    """A picker that notes how long its picks take."""

    took: LogHistogram

    def pick(self, facts: RequestFacts, *, now_seconds: float, draw: float) -> Pick | Rejection:
        start_seconds = time.perf_counter()
        answer = super().pick(facts, now_seconds=now_seconds, draw=draw)
        self.took.add(time.perf_counter() - start_seconds)
        return answer


def time_decisions(job: Job) -> DecisionTime:
    """Play a job and time every pick in it."""
    simulation = simulation_of(job)
    arm = simulation.arm
    picker = _TimedPicker(simulation.world.fleet, arm.settings, policy=arm.policy)
    picker.took = LogHistogram()
    simulation.picker = picker
    simulation.run()
    return DecisionTime(
        arm=job.arm,
        picks=picker.took.count,
        p50_seconds=picker.took.quantile(0.5),
        p99_seconds=picker.took.quantile(0.99),
    )
