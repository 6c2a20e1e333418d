"""What came of the cap step: watts against the cap, requests before and after. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headrace.demo.cap_plan import BRAKE, PACING, PERIOD_SECONDS, CapSchedule
from headrace.demo.capping_log import Decision
from headrace.demo.power_windows import (
    Excess,
    PowerWindow,
    between,
    excess,
    mean_watts,
    seconds_to_under,
)
from loadtest.outcome import RequestOutcome, Summary, summarise


class Caps(NamedTuple):
    """What was in force.

    Attributes:
        measured_watts: Mean of the fleet before any cap; both caps come from it.
        first_watts: Cap before the step.
        second_watts: Cap after it.
        step_seconds: When it was written, since the first arrival.
    """

    measured_watts: float
    first_watts: float
    second_watts: float
    step_seconds: float


class Around(NamedTuple):
    """One quantity on both sides of the step."""

    before: Any
    after: Any

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return self._asdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class CapAccount:
    """One arm's cap step. Watts are simulated, by the boards' own exact meter.

    Attributes:
        caps: What was in force.
        reaction_seconds: Declared before the run.
        mean_watts: Before the step, and after the reaction time while requests still came.
        under_after_seconds: From the step to the first of three windows in a row at or under the
            cap; None: never.
        reacting: Above the cap before the reaction time was over.
        violations: Above the cap after it.
        requests: How many were due on each side.
        lost: Of those, how many failed.
        attainment_ratio: Of those, within the objectives.
        awake: Replicas by backend.
        decisions: What the capper changed, with its reasons.
        loaded_until_seconds: Last arrival; the fleet idles soon after.
    """

    caps: Caps
    reaction_seconds: float
    mean_watts: Around
    under_after_seconds: float | None
    reacting: Excess
    violations: Excess
    requests: Around
    lost: Around
    attainment_ratio: Around
    awake: Around
    decisions: tuple[Decision, ...]
    loaded_until_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "happened": True,
            "simulated": "all watts, and energy over the cap: by the boards' own meter",
            "measured_watts_before_any_cap": self.caps.measured_watts,
            "cap_before_watts": self.caps.first_watts,
            "cap_watts": self.caps.second_watts,
            "step_seconds": self.caps.step_seconds,
            "declared_reaction_seconds": self.reaction_seconds,
            "under_cap_after_seconds": self.under_after_seconds,
            "simulated_mean_watts": self.mean_watts.to_dict(),
            "over_cap_while_reacting": self.reacting.to_dict(),
            "violations": self.violations.to_dict(),
            "requests": self.requests.to_dict(),
            "requests_lost": self.lost.to_dict(),
            "attainment_ratio": self.attainment_ratio.to_dict(),
            "awake_replicas": self.awake.to_dict(),
            "pacing": {"periodSeconds": PERIOD_SECONDS, **PACING, "brake": dict(BRAKE)},
            "decisions": [decision.to_dict() for decision in self.decisions],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was recorded during an arm.

    Attributes:
        windows: The meter's.
        caps: In force.
        awake: Replicas by backend at the step and at the end.
        decisions: What the capper changed.
    """

    windows: Sequence[PowerWindow]
    caps: Caps
    awake: tuple[Mapping[str, int], Mapping[str, int]]
    decisions: Sequence[Decision]


def cap_account(
    seen: Seen, schedule: CapSchedule, outcomes: Sequence[RequestOutcome]
) -> CapAccount:
    """Both sides of a step that was made while `outcomes` were produced."""
    caps, windows = seen.caps, seen.windows
    step, judged = caps.step_seconds, caps.step_seconds + schedule.reaction_seconds
    end = windows[-1].end_seconds if windows else 0.0
    loaded_until = max(outcome.due_seconds for outcome in outcomes)
    early, late = (
        summarise([one for one in outcomes if (one.due_seconds >= step) is after])
        for after in (False, True)
    )
    after_step = between(windows, step, end)
    return CapAccount(
        caps=caps,
        reaction_seconds=schedule.reaction_seconds,
        mean_watts=Around(
            mean_watts(between(windows, schedule.measure_seconds, step)),
            mean_watts(between(windows, judged, loaded_until)),
        ),
        under_after_seconds=seconds_to_under(after_step, caps.second_watts),
        reacting=excess(between(windows, step, judged), caps.second_watts),
        violations=excess(between(windows, judged, end), caps.second_watts),
        requests=_around(early, late, "requests"),
        lost=_around(early, late, "failed"),
        attainment_ratio=_around(early, late, "attainment_ratio"),
        awake=Around(dict(seen.awake[0]), dict(seen.awake[1])),
        decisions=tuple(seen.decisions),
        loaded_until_seconds=loaded_until,
    )


def _around(early: Summary, late: Summary, name: str) -> Around:
    return Around(getattr(early, name), getattr(late, name))


def uncapped(account: CapAccount, windows: Sequence[PowerWindow]) -> dict[str, Any]:
    """The same watts limit and seconds, laid over an arm that nothing capped."""
    start = account.caps.step_seconds + account.reaction_seconds
    there = between(windows, start, account.loaded_until_seconds)
    return {
        "simulated_mean_watts": mean_watts(there),
        "above_the_same_watts": excess(there, account.caps.second_watts).to_dict(),
    }
