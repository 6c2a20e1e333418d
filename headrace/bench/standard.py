"""The rows of `headrace bench policies`: which scenarios, how many seeds, how long. Pure.

What a row takes is bought where intervals need it. Five slices of the trace for most of what
targets are judged by; three where arms differ by far more than slices do. Arms meet the same
requests, so their ratios hardly need long windows: at 22 requests/s the 95 % interval of ours over
the scorer is .497-.534 with windows of 180 s and .495-.539 with 90 s. At 56 requests/s and above
five slices of 90 s hold most of the trace's hour: longer ones would meet the same requests again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest.simulator.scenario import DEFAULT_ARMS, Scenario
from loadtest.study.scenario_files import load_scenario

HOST_WATTS_PER_GPU = 350.0
"""Declared, not measured: the 2,800 W of an idle DGX-H100 (in splitwise-sim) over 8 boards."""

_FEW_SEEDS = 3
_USUAL_SECONDS = 120.0
_BUSY_SECONDS = 90.0
_OVERLOAD_SECONDS = 60.0
_QUICK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A scenario of the benchmark.

    Attributes:
        scenario: Its name.
        most_seeds: How many of the seeds it is played with; None for all.
        changes: Fields that replace those of its file.
    """

    scenario: str
    most_seeds: int | None = None
    changes: Mapping[str, object] = field(default_factory=dict)

    def seeds(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Those of `seeds` that it is played with."""
        return seeds[: self.most_seeds]


_USUAL = {"window_seconds": _USUAL_SECONDS}
_BUSY = {"window_seconds": _BUSY_SECONDS}

STANDARD = (
    Row(scenario="azure-conv-f2", changes=_USUAL | {"arms": DEFAULT_ARMS}),
    # Its main arms are those of the row above, and are not played again.
    Row(
        scenario="rivals",
        most_seeds=_FEW_SEEDS,
        changes=_USUAL | {"loads_requests_per_second": (6.0, 22.0, 56.0)},
    ),
    Row(scenario="overload", most_seeds=_FEW_SEEDS, changes={"window_seconds": _OVERLOAD_SECONDS}),
    Row(scenario="azure-code-f2", changes=_USUAL),
    Row(scenario="azure-conv-f1", changes=_BUSY),
    Row(scenario="azure-conv-f3", most_seeds=_FEW_SEEDS, changes=_BUSY),
    Row(scenario="azure-conv-f4-70b", changes=_USUAL),
    Row(scenario="step", most_seeds=_FEW_SEEDS),
    Row(scenario="faults"),
    Row(
        scenario="mismatch",
        most_seeds=_FEW_SEEDS,
        changes=_BUSY | {"arms": ("dispatch", "dispatch-prior-high", "dispatch-prior-low")},
    ),
    Row(scenario="knowledge", most_seeds=_FEW_SEEDS, changes=_USUAL),
    Row(
        scenario="mooncake",
        most_seeds=_FEW_SEEDS,
        changes=_BUSY | {"warmup_seconds": 120.0, "loads_requests_per_second": (4.0,)},
    ),
)
"""In the order of the page."""

HEADLINE = STANDARD[0].scenario


def scenario_of(row: Row, *, quick: bool) -> Scenario:
    """The scenario of a row, its hosts' power declared.

    Args:
        row: Which.
        quick: Short windows and the main arms only: to see that everything works.

    Raises:
        ScenarioError: The file cannot be used.
    """
    changes = {"overhead_watts_per_gpu": HOST_WATTS_PER_GPU, **row.changes}
    scenario = load_scenario(row.scenario, changes=changes)
    if not quick:
        return scenario
    main = tuple(arm for arm in scenario.arms if arm in DEFAULT_ARMS)
    prior_arms = tuple(arm for arm in scenario.arms if arm.startswith("dispatch-prior"))
    changes |= {"arms": (*main, *prior_arms), "step": None}
    if scenario.fault_cases.keys() == {"none"}:
        changes |= {"window_seconds": _QUICK_SECONDS, "warmup_seconds": _QUICK_SECONDS}
    return load_scenario(row.scenario, changes=changes)
