"""The plots beside the page of `headrace bench policies`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.reports.plots import attainment_plot, batch_plot, power_plot, save
from loadtest.simulator.arms import LEAST_REQUEST, OURS, SCORER
from loadtest.study.study import Study

_ATTAINMENT = ("rivals", "azure-code-f2", "overload")
_POWER = ("step",)
_BATCHES = ("azure-conv-f2", 22.0)


def write_figures(studies: Sequence[Study], folder: Path) -> Iterator[Path]:
    """Draw what the page shows; gives the files that were written.

    Args:
        studies: Those of the benchmark; a scenario that is missing is not drawn.
        folder: Where to; exists.

    Raises:
        OSError: It cannot be written to.
    """
    by_name = {study.summary.scenario.name: study for study in studies}
    for name in filter(by_name.__contains__, _ATTAINMENT):
        path = folder / f"{name}-attainment.png"
        save(attainment_plot(by_name[name].summary), path)
        yield path
    for name in filter(by_name.__contains__, _POWER):
        path = folder / f"{name}-power.png"
        save(power_plot(by_name[name].summary, by_name[name].recorded), path)
        yield path
    name, load = _BATCHES
    shown = [
        one
        for one in (by_name[name].recorded if name in by_name else ())
        if one.timeline is not None
        and one.point.load_requests_per_second == load
        and one.result.arm in {OURS, SCORER, LEAST_REQUEST}
    ]
    if shown:
        path = folder / f"{name}-batches.png"
        save(batch_plot(by_name[name].summary.scenario, shown[0].point, shown), path)
        yield path
