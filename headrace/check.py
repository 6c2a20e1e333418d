"""`headrace check`: validates files offline and says everything that is wrong with them."""

import argparse
from pathlib import Path

from headrace.config_errors import BadInputError, load_yaml
from headrace.fleet_file import load_fleet
from headrace.serve_file import load_serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="fleet or serve file")


def run(args: argparse.Namespace) -> int:
    """Check every file, print what each one is, and fail with all problems of all files."""
    problems: list[str] = []
    for path in args.files:
        try:
            print(f"{path}: {_check(path)}")
        except BadInputError as error:
            problems += error.problems
    if problems:
        raise BadInputError(*problems)
    return 0


def _check(path: Path) -> str:
    """What a valid file holds, in a few words."""
    document = load_yaml(path)
    if isinstance(document, dict) and "backends" in document:
        fleet = load_fleet(path)
        return (
            f"a fleet of {len(fleet.backends)} backends and {len(list(fleet.replicas()))} replicas"
            f" serving {', '.join(fleet.models())}"
        )
    if isinstance(document, dict) and {"fleet", "ext_proc"} & set(document):
        section, fleet = load_serve(path)
        return f"a serve file: policy {section.router.policy}, {len(fleet.backends)} backends"
    raise BadInputError(
        f"{path}: is neither a fleet file (backends: ...) nor a serve file (fleet:, ext_proc: ...)."
    )
