"""The page and the JSON of `headrace bench carbon`. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from headrace.bench.carbon_shift import WAITS, Shift
from loadtest.reports.cells import UNKNOWN, markdown_table
from loadtest.study.carbon_study import (
    BUDGET_RATIO,
    FORECAST_ERROR_RATIO,
    LEAST_RATIO,
    DayFound,
    Row,
)

SCHEMA = 1
_PER_CENT = re.compile(r"(?<=\d)%")

_HEAD = """# Caps by carbon in the simulator

Written by `{command}`; edit nothing here. Everything is simulated:
[models](models.md) says on what. Scenario `carbon` on each day: 18 requests/s on average over a
declared day of load, fleet F2, one seed, a day in 24 minutes; load and grid begin at local
midnight. Grids are hourly averages of 2022, no marginals. Boards only: no hosts, no cooling. Code
{code}.

## Days

`four levels` is the default schedule between 25 and 50 % of the fleet's highest power. `two
levels` locks clocks as low as the loop goes (a cap of {least:.0%}) in the dirtier half of the day
and leaves the cleaner half alone. `budget` allows {budget:.0%} of what is emitted without a policy.
`lowest clocks` holds the lowest cap all day. Noisy forecasts are off by {error:.0%} on average.
`met` is the part of the requests within both objectives (TTFT 1 s, TPOT 50 ms).

{days}

## Timing alone: against a constant cap of equal energy

A cap saves grams because it saves joules. What the hours of the grid add to that is the difference
to a constant cap that takes the same energy; its grams lie on the line between constant caps that
were played. `best` is the most that a cap by the hour could save at that energy: the linear program
gives each hour any energy between what it took under the lowest clocks and at full ones. `share` is
our part of it. It is above 100 % where hours took less or more than in those two runs: work is
carried from an hour into the next. Where there is next to nothing to save it says nothing.

{timing}

{matched}
## What shifting load could save

Chat answers cannot wait, and nothing here lets them. If a part of the load could, this is the most
that perfect knowledge would save of all grams, by a linear program over each week of 2022: power
is a + b x load as fitted to the days above, idle power stays, and an hour serves at most 1.25 times
the peak.

{shifts}

## How to read this

{reading}
- Most of the saving is energy, which lower clocks save at any hour. Where slower answers are no
  loss, lock them all day (`lowest clocks`, or the clock loop of [capping](capping.md)): that emits
  less than any schedule. Carbon decides when to be slow where it is a loss.
- One fleet, one model, one declared day of load and one seed; hourly averages, in which a grid's
  swings are smaller than in its marginals.
"""


def carbon_page(
    found: Sequence[DayFound],
    shifted: Sequence[Shift],
    *,
    command: str,
    code: str,
) -> str:
    """Markdown."""
    waits = (f"{ratio:.0%} may wait {hours} h" for ratio, hours in WAITS)
    text = _HEAD.format(
        command=command,
        code=code[:12],
        least=LEAST_RATIO,
        budget=BUDGET_RATIO,
        error=FORECAST_ERROR_RATIO,
        days=markdown_table(
            ("day", "way", "gCO2e", "change", "energy", "g/MJ", "met"),
            tuple(_day_rows(found)),
            texts=2,
        ),
        matched=_matched(found),
        timing=markdown_table(
            ("day", "way", "saved by timing", "best", "share"), tuple(_timing_rows(found)), texts=2
        ),
        shifts=markdown_table(
            ("zone", "weeks", *waits),
            tuple(
                (one.zone, str(one.weeks), *(f"{saved:.1%}" for saved in one.saved_ratio))
                for one in shifted
            ),
        ),
        reading="\n".join(_reading(found)),
    )
    return _PER_CENT.sub(" %", text)


def _name(one: DayFound) -> str:
    return f"{one.day.zone} {one.day.start[:10]}"


def _day_rows(found: Sequence[DayFound]) -> Iterator[tuple[str, ...]]:
    for one in found:
        base = one.none.grams
        listed = [("none", one.none), *((_way(row), row.played) for row in one.rows)]
        for name, played in (*listed, ("lowest clocks", one.least)):
            yield (
                _name(one),
                name,
                f"{played.grams:.1f}",
                UNKNOWN if name == "none" else f"{played.grams / base - 1.0:+.1%}",
                f"{played.joules / 1e6:.3f} MJ",
                f"{played.grams_per_megajoule:.2f}",
                f"{played.met_ratio:.2%}",
            )


def _way(row: Row) -> str:
    return f"{row.name}, noisy" if row.noisy else row.name


def saved(row: Row) -> float | None:
    """Part of the grams of an equally large constant cap that timing saved."""
    if row.constant_grams is None:
        return None
    return 1.0 - row.played.grams / row.constant_grams


def best(row: Row) -> float | None:
    """The same of the best cap by the hour."""
    if row.constant_grams is None or row.least_grams is None:
        return None
    return 1.0 - row.least_grams / row.constant_grams


def _timing_rows(found: Sequence[DayFound]) -> Iterator[tuple[str, ...]]:
    for one in found:
        for row in one.rows:
            ours, most = saved(row), best(row)
            share = None if ours is None or not most else ours / most
            yield (
                _name(one),
                _way(row),
                UNKNOWN if ours is None else f"{ours:+.2%}",
                UNKNOWN if most is None else f"{most:.2%}",
                UNKNOWN if share is None else f"{share:.0%}",
            )


def _matched(found: Sequence[DayFound]) -> str:
    """How far the played constant caps are from equal energy."""
    pairs = [pair for one in found for pair in one.matched]
    if not pairs:
        return ""
    off = max(abs(constant.joules / way.joules - 1.0) for _, way, constant in pairs)
    return (
        f"Constant caps searched for the energy of a way and played: {len(pairs)}; off by at most"
        f" {off:.1%}.\n"
    )


def _reading(found: Sequence[DayFound]) -> Iterator[str]:
    for name in dict.fromkeys(_way(row) for one in found for row in one.rows):
        rows = [(one, row) for one in found for row in one.rows if _way(row) == name]
        changes = [row.played.grams / one.none.grams - 1.0 for one, row in rows]
        timing = [value for _, row in rows if (value := saved(row)) is not None]
        met = min(row.played.met_ratio for _, row in rows)
        by_timing = f"; timing alone {min(timing):+.1%} to {max(timing):+.1%}" if timing else ""
        yield (
            f"- `{name}`: grams {min(changes):+.1%} to {max(changes):+.1%} against no policy"
            f"{by_timing}; met at least {met:.2%}."
        )
    kept = [row.played.grams / one.budget_grams for one in found for row in one.rows[-1:]]
    yield (
        f"- The budget was used to {min(kept):.1%} to {max(kept):.1%}; above 100 % clocks alone"
        " could not keep it."
    )


def report_document(found: Sequence[DayFound], shifted: Sequence[Shift]) -> dict[str, Any]:
    """JSON values."""
    return {
        "schema": SCHEMA,
        "simulated": True,
        "days": [asdict(one) for one in found],
        "shifts": [asdict(one) for one in shifted],
    }
