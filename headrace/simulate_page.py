"""The page of `headrace simulate --page`: markdown, plots beside it and the JSON of its targets."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from headrace.config_errors import BadInputError
from loadtest.reports.day_page import day_page
from loadtest.reports.day_plots import write_day_plots
from loadtest.reports.json_report import dumps, study_document
from loadtest.study.reach import Reached
from loadtest.study.study import Study


def write_page(study: Study, targets: Sequence[Reached], args: argparse.Namespace) -> list[Path]:
    """Write the page, its plots and `report.json` into the folder of its name.

    Raises:
        BadInputError: They cannot be written.
    """
    page: Path = args.page
    folder = page.with_suffix("")
    summary = study.summary
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots = list(
            write_day_plots(summary.scenario, study.recorded, folder, seed=summary.seeds[0])
        )
        report = folder / "report.json"
        document = study_document(summary) | {"reach": [_target(one) for one in targets]}
        report.write_text(dumps(document), encoding="utf-8")
        figures = [f"{folder.name}/{path.name}" for path in plots]
        text = day_page(summary, targets, command=" ".join(_command(args)), figures=figures)
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"simulate: --page {page}: {error.strerror or error}.") from error
    return [*plots, report, page]


def _target(one: Reached) -> dict[str, object]:
    return asdict(one) | {
        "row": one.row.model_dump(mode="json"),
        "saved_ratio": one.saved_ratio,
        "met": one.met,
    }


def _command(args: argparse.Namespace) -> Iterator[str]:
    yield f"headrace simulate {Path(args.scenario).name}"
    if args.policy:
        yield f"--policy {' '.join(args.policy)}"
    if args.seeds != "0-4":
        yield f"--seeds {args.seeds}"
    if args.window_seconds is not None:
        yield f"--window-seconds {args.window_seconds:g}"
    # Where somebody's own folders are does not belong on the page.
    yield f"--page {args.page.name if args.page.is_absolute() else args.page}"
