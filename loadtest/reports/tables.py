"""Tables of a study, as rows of text for a terminal or a page."""

from collections.abc import Callable
from typing import TypeAlias

from loadtest.reports.cells import UNKNOWN, number
from loadtest.simulator.scenario import Scenario
from loadtest.statistics import Interval
from loadtest.study.summary import TARGET_ATTAINMENT_RATIO, ArmSummary, PointSummary

Column: TypeAlias = tuple[str, Callable[[ArmSummary], str]]

_COLUMNS: tuple[Column, ...] = (
    ("arm", lambda arm: arm.arm if arm.attains else f"{arm.arm} *"),
    ("J/token", lambda arm: _joules(_value(arm.joules_per_token))),
    ("95 %", lambda arm: _range(arm.joules_per_token)),
    ("of\nscorer", lambda arm: _ratio(arm.ratio_to_scorer)),
    ("of\nbound", lambda arm: _ratio(arm.ratio_to_bound)),
    ("met\n%", lambda arm: _percent(_value(arm.attainment_ratio))),
    ("adm.\nmet %", lambda arm: _percent(arm.admitted_attainment_ratio)),
    ("good\n/s", lambda arm: f"{arm.goodput_requests_per_second:.1f}"),
    ("TTFT\np99 s", lambda arm: number(arm.ttft_p99_seconds)),
    ("TPOT\np99 ms", lambda arm: number(arm.tpot_p99_seconds, scale=1000.0, digits=0)),
)
_OF_ADMITTED = 6
_DETAILS: tuple[Column, ...] = (
    _COLUMNS[0],
    ("of scorer\n95 %", lambda arm: _span(arm.ratio_to_scorer)),
    ("met %\n95 %", lambda arm: _span(arm.attainment_ratio, scale=100.0)),
    ("dynamic\nJ/token", lambda arm: _joules(arm.dynamic_joules_per_token)),
    ("idle\nJ/token", lambda arm: _joules(arm.idle_joules_per_token)),
    ("with hosts\nJ/token", lambda arm: _joules(arm.overhead_joules_per_token)),
    ("tokens/s\nper W", lambda arm: number(arm.tokens_per_joule)),
    ("Jain\nreplicas", lambda arm: number(arm.replicas_jain_ratio)),
    ("Jain\ntenants", lambda arm: number(arm.tenants_jain_ratio)),
    ("flips\n%", lambda arm: number(arm.pick_flip_ratio, scale=100.0, digits=0)),
    ("set\nchanges", lambda arm: number(arm.set_changes, digits=1)),
)
_OF_TENANTS = 8
_OVER_CAP: Column = ("over\ncap s", lambda arm: number(arm.seconds_over_cap, digits=0))

FOOTNOTE = (
    "met: within both objectives, of all requests (adm.: of those admitted). "
    f"* less than {TARGET_ATTAINMENT_RATIO:.0%} of those admitted: not ranked."
)
DETAIL_FOOTNOTE = (
    "Jain: Jain's index of the requests sent to each replica (a packing policy has a low one on "
    "purpose) and of the tenants' attainment. Flips: requests that went to another replica than "
    "the one before. Set changes: of the committed set, in a window. With hosts: the declared "
    "power of the hosts added."
)


def point_table(point: PointSummary) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header, whose names may be broken into lines, and one row per arm.

    What became of the admitted requests is a column of its own if any request was refused.
    """
    refused = any(arm.shed_ratio for arm in point.arms)
    columns = [one for i, one in enumerate(_COLUMNS) if refused or i != _OF_ADMITTED]
    if any(arm.seconds_over_cap is not None for arm in point.arms):
        columns.append(_OVER_CAP)
    rows = [tuple(show(arm) for _, show in columns) for arm in point.arms]
    return tuple(name for name, _ in columns), rows


def detail_table(point: PointSummary) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The figures that do not rank arms: intervals, parts of the energy, fairness, flips.

    The tenants' column is there if the trace names tenants.
    """
    tenants = any(arm.tenants_jain_ratio is not None for arm in point.arms)
    columns = [one for i, one in enumerate(_DETAILS) if tenants or i != _OF_TENANTS]
    rows = [tuple(show(arm) for _, show in columns) for arm in point.arms]
    return tuple(name for name, _ in columns), rows


def bound_line(point: PointSummary) -> str:
    """All four bounds in a sentence."""
    bounds = point.bounds
    return (
        f"Bounds, J/token: co-located {number(bounds.colocated_always_on, digits=3)} "
        f"(idle replicas asleep {number(bounds.colocated_may_sleep, digits=3)}); "
        f"free prefill {number(bounds.always_on, digits=3)} "
        f"(asleep {number(bounds.may_sleep, digits=3)}). "
        f"Best steady states, a reference: {number(bounds.steady, digits=3)}."
    )


def point_title(scenario: Scenario, point: PointSummary) -> str:
    """What was offered."""
    speed = "" if point.speed_up_ratio == 1.0 else f", trace x{point.speed_up_ratio:.2f}"
    return (
        f"{scenario.name}, {point.point.label}{speed} "
        f"({point.offered_requests_per_second:.1f}/s in the slices played)"
    )


def _percent(value: float | None) -> str:
    """A ratio in per cent, with the digits that tell 99 % and 99.9 % apart."""
    return UNKNOWN if value is None else f"{100.0 * value:.2f}"


def _joules(value: float | None) -> str:
    return number(value, digits=3 if value is not None and value < 1.0 else 2)


def _range(value: Interval | None) -> str:
    if value is None or value.seeds == 1:
        return UNKNOWN
    return f"{_joules(value.low)}-{_joules(value.high)}"


def _span(value: Interval | None, *, scale: float = 1.0) -> str:
    if value is None or value.seeds == 1:
        return UNKNOWN
    return f"{number(value.low, scale=scale)}-{number(value.high, scale=scale)}"


def _ratio(value: Interval | None) -> str:
    return UNKNOWN if value is None else f"{value.value:.2f}"


def _value(value: Interval | None) -> float | None:
    return None if value is None else value.value
