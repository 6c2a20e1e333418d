"""The page and the JSON of `headrace smooth --example`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headrace.smooth_report import SCHEMA, Table
from headrace.smooth_results import ArmResult, CaseResult
from loadtest.reports.cells import markdown_table

COMMAND = "headrace smooth --example --page docs/simulation/smoothing.md"
REACH_RATIO = 0.10
_SHOWN_DIGITS = 12
_WRITTEN = (
    f"Written by `{COMMAND}`; edit nothing here. What the plan is and how to make one from a"
    " history of your own: [guide](../guide/smoothing.md)."
)
_DECLARED = (
    "Every figure is simulated, and the weeks are declared, not recorded: no public trace of LLM"
    " inference is a week long. The day of a service is a curve, moved to its users' time zone;"
    " lengths of requests and bursts of five minutes are those of Azure's traces (one hour each);"
    " watts are those of the batch that carries the load by the fitted profiles of the boards,"
    " read by sensors that are off by up to half a per cent. Replicas of a service are filled one"
    " after another, as the router does, unless the case says otherwise. The cases are in"
    " `headrace/smooth_week.yaml`."
)
_LIMITS = (
    "Replicas run on: the plan is a goal for new ones, and a fleet whose replicas never change"
    " gains nothing from hints. A load that is not like last week's is not smoothed by last week's"
    " plan. A declared week is smoother than a real one: events, roll-outs and faults that move"
    " many services at once are not in it."
)


def example_rows(results: Sequence[CaseResult]) -> Table:
    """One row for each case."""
    header = (
        *("case", "replicas", "racks", "racks' peaks now kW"),
        *("random", "renewed", "dealt", "planned", "planned: worst", "rows' peaks", "bound"),
    )
    rows: list[tuple[str, ...]] = [
        (
            one.name,
            str(one.replicas),
            str(one.racks),
            f"{one.kilowatts:.1f}",
            _percent(one.arms["random"].leaf_ratio),
            _percent(one.arms["renewed"].leaf_ratio),
            _percent(one.arms["dealt"].leaf_ratio),
            f"**{_percent(one.arms['planned'].leaf_ratio)}**",
            _percent(one.arms["planned"].low_ratio),
            _percent(one.arms["planned"].row_ratio),
            _percent(one.arms["planned"].bound_ratio),
        )
        for one in results
    ]
    return header, rows


def example_document(results: Sequence[CaseResult], inputs: Mapping[str, object]) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "schema": SCHEMA,
        "simulated": True,
        "command": COMMAND,
        "inputs": dict(inputs),
        "cases": [
            {
                **asdict(one),
                "arms": {name: asdict(arm) for name, arm in one.arms.items()},
            }
            for one in results
        ],
    }


def example_page(
    results: Sequence[CaseResult], inputs: Mapping[str, object], *, plots: Sequence[str]
) -> str:
    """Markdown.

    Args:
        results: By case.
        inputs: Hashes and settings.
        plots: Files beside the page.
    """
    parts = [
        "# Smoothing (simulated)",
        _WRITTEN,
        _DECLARED,
        "## By how much the racks' peaks go down",
        markdown_table(*example_rows(results)),
        _reading(inputs),
        "## Reach",
        _reach(results),
        "## Where it does not help",
        *_losses(results),
        *(f"![racks over the week (simulated)]({path})" for path in plots),
        "## Cases",
        "\n".join(f"- `{one.name}`: {one.description}." for one in results),
        "## Inputs",
        "\n".join(f"- {name}: `{_shown(value)}`" for name, value in inputs.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _reading(inputs: Mapping[str, object]) -> str:
    seeds = inputs["seeds"]
    assert isinstance(seeds, list), "the command sets it"
    return (
        "Per cent by which the sum of the racks' weekly peaks is lower than now, at the same number"
        " of replicas in each rack. Planned on one week, measured on another; means of"
        f" {len(seeds)} such pairs. *random*: mean of 20 shuffles a pair. *renewed*: every replica"
        " ended once, in random order, and its successor went where the hints said, with a quarter"
        " of the slots free. *dealt*: clustered and dealt. *planned*: dealt, then swapped for as"
        " long as that lowers the peaks; what `headrace smooth` gives. *bound*: the racks' peaks"
        " cannot add up to less than the peak of the whole."
    )


def _reach(results: Sequence[CaseResult]) -> str:
    met = [one for one in results if one.arms["planned"].leaf_ratio >= REACH_RATIO]
    names = ", ".join(f"`{one.name}` {_percent(one.arms['planned'].leaf_ratio)}" for one in met)
    if not met:
        return f"At least {REACH_RATIO:.0%} lower peaks on asynchronous services: **not met**."
    return (
        f"At least {REACH_RATIO:.0%} lower peaks on asynchronous services that hang in racks of"
        f" their own: met ({names}). Most of it is had by any mixing: compare *random*."
    )


def _losses(results: Sequence[CaseResult]) -> list[str]:
    lines = []
    for one in results:
        planned, random = one.arms["planned"], one.arms["random"]
        if planned.leaf_ratio < REACH_RATIO:
            lines.append(f"- `{one.name}`: {_percent(planned.leaf_ratio)}; {_why(planned)}.")
        elif planned.leaf_ratio < random.leaf_ratio:
            lines.append(f"- `{one.name}`: random placement is better.")
    return [
        "\n".join(lines) if lines else "Every declared case gains.",
        _LIMITS,
    ]


def _why(arm: ArmResult) -> str:
    bound = _percent(arm.bound_ratio)
    if arm.bound_ratio < REACH_RATIO:
        return f"no placement can pass {bound}, that near are the racks' peaks to the whole's now"
    return f"the bound is {bound}"


def _percent(ratio: float) -> str:
    return f"{100.0 * ratio:.1f} %"


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:_SHOWN_DIGITS] if len(text) == 64 else text  # noqa: PLR2004 - of a SHA-256
