"""Targets that a scenario names: which runs they take and what those came to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.simulator.scenario import Scenario, ScenarioError
from loadtest.simulator.scenario_sections import ReachSection
from loadtest.statistics import mean
from loadtest.study.scenario_files import load_scenario
from loadtest.study.study import Plan, plan_study
from loadtest.study.summary import ArmSummary, PointSummary, StudySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A target and what was measured, all of it simulated.

    Attributes:
        row: What was asked.
        command: That plays it by itself.
        ours: The figure per token; None: the run has none.
        theirs: Likewise of the other arm.
        attained_ratio: Requests within both objectives, of ours.
    """

    row: ReachSection
    command: str
    ours: float | None
    theirs: float | None
    attained_ratio: float | None

    @property
    def saved_ratio(self) -> float | None:
        """By which part ours is lower."""
        if self.ours is None or not self.theirs:
            return None
        return 1.0 - self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether figure and attainment are as asked."""
        saved, attained = self.saved_ratio, self.attained_ratio
        return (
            saved is not None
            and saved >= self.row.saves_ratio
            and attained is not None
            and attained >= self.row.attainment_ratio
        )


def plan_reach(scenario: Scenario, *, seeds: Sequence[int]) -> tuple[Plan, ...]:
    """What has to be played for the targets of a scenario, in their order.

    Raises:
        ScenarioError: One of the scenarios cannot be used.
    """
    return tuple(_plan(scenario, row, seeds) for row in scenario.reach)


def reached(scenario: Scenario, studies: Sequence[StudySummary]) -> tuple[Reached, ...]:
    """The targets of a scenario with the studies of `plan_reach`."""
    return tuple(
        _reached(row, summary) for row, summary in zip(scenario.reach, studies, strict=True)
    )


def _plan(scenario: Scenario, row: ReachSection, seeds: Sequence[int]) -> Plan:
    arms = (row.arm, row.against)
    if row.scenario == scenario.name:
        found = scenario.model_copy(update={"arms": arms})
    else:
        found = load_scenario(row.scenario, changes={"arms": arms, "control": {"arms": ["none"]}})
    load = row.load_requests_per_second
    if load is not None:
        if load not in found.loads_requests_per_second:
            known = ", ".join(f"{one:g}" for one in found.loads_requests_per_second)
            raise ScenarioError(f"reach: {row.scenario} has the loads {known}, got {load:g}.")
        found = found.model_copy(update={"loads_requests_per_second": (load,)})
    return plan_study(found, seeds=row.seeds or seeds)


def _reached(row: ReachSection, summary: StudySummary) -> Reached:
    point = summary.points[0]
    ours = point.arm(row.arm)
    attained = None if ours is None else ours.attainment_ratio
    seeds = ",".join(map(str, summary.seeds))
    arms = f"{row.arm} {row.against}"
    return Reached(
        row=row,
        command=f"headrace simulate {row.scenario} --seeds {seeds} --policy {arms}",
        ours=_figure(point, row.arm, row.figure),
        theirs=_figure(point, row.against, row.figure),
        attained_ratio=None if attained is None else attained.value,
    )


def _figure(point: PointSummary, name: str, figure: str) -> float | None:
    arm = point.arm(name)
    return None if arm is None else _FIGURES[figure](arm)


def _joules(arm: ArmSummary) -> float | None:
    return None if arm.joules_per_token is None else arm.joules_per_token.value


def _cooling(arm: ArmSummary) -> float | None:
    found = [
        run.accounts.cooling_joules / run.output_tokens
        for run in arm.results
        if run.accounts is not None
        and run.accounts.cooling_joules is not None
        and run.output_tokens
    ]
    return mean(found) if len(found) == len(arm.results) else None


_FIGURES: Mapping[str, Callable[[ArmSummary], float | None]] = {
    "joules_per_token": _joules,
    "cooling_joules_per_token": _cooling,
}
