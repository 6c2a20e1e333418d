"""`headrace bench carbon`: caps by carbon on several grids, beside equal energy and bounds."""

import argparse
from pathlib import Path

from rich.console import Console

from headrace.bench.carbon_page import carbon_page, report_document
from headrace.bench.carbon_shift import shifts
from headrace.config_errors import BadInputError
from headrace.simulate import progress_bar
from loadtest.reports.json_report import dumps
from loadtest.simulator.scenario import ScenarioError
from loadtest.study.carbon_study import DAYS, runs, study
from loadtest.study.code import code_sha256
from loadtest.study.workers import workers

DEFAULT_PAGE = Path("docs/simulation/carbon.md")
_QUICK_DAYS = DAYS[1:2]


def run(args: argparse.Namespace) -> int:
    """Play the days, print and write what they came to; 0 whatever the figures are."""
    page = args.out or (None if args.quick else DEFAULT_PAGE)
    for path, name in ((args.report, "--report"), (page, "--out")):
        if path is not None and not path.absolute().parent.is_dir():
            raise BadInputError(f"bench: {name} {path}: there is no such folder.")
    if args.jobs < 1:
        raise BadInputError(f"bench: --jobs must be 1 or more, got {args.jobs}.")
    console, days = Console(), _QUICK_DAYS if args.quick else DAYS
    try:
        with (
            workers(args.jobs) as crew,
            progress_bar(console, "days of grids", runs(days)) as progress,
        ):
            found = study(days, crew=crew, progress=progress)
        shifted = shifts(found)
    except ScenarioError as error:
        raise BadInputError(*error.problems) from error
    command = "headrace bench carbon" + (" --quick" if args.quick else "")
    text = carbon_page(found, shifted, command=command, code=code_sha256())
    console.print(text, markup=False, soft_wrap=True)
    if args.report is not None:
        args.report.write_text(dumps(report_document(found, shifted)), encoding="utf-8")
        console.print(f"written: {args.report}")
    if page is not None:
        page.write_text(text, encoding="utf-8")
        console.print(f"written: {page}")
    return 0
