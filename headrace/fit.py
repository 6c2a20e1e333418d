"""`headrace fit`: fits the simulated hardware to public measurements, or checks that it was."""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from headrace.config_errors import BadInputError
from loadtest.models import __file__ as models_file

_DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_NEEDED = ("numpy", "scipy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data sets; HEADRACE_DATA, else ../shared/data beside the repository",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(models_file).parent,
        metavar="DIR",
        help="where the parameter files are; loadtest/models",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail when the files are not what a refit gives",
    )


def run(args: argparse.Namespace) -> int:
    """Refit, then write the files or compare them."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInputError(
            f"headrace fit needs {' and '.join(missing)}: pip install 'headrace[sim]'."
        )
    texts = _refit(args.data or Path(os.environ.get("HEADRACE_DATA") or _DEFAULT_DATA))
    return _check(args.out, texts) if args.check else _write(args.out, texts)


def _refit(data_directory: Path) -> dict[str, str]:
    """Name and text of every parameter file."""
    # Imported here: nothing else that this command line does needs numpy.
    from loadtest.fit.assembly import all_files  # noqa: PLC0415 - see above
    from loadtest.fit.files import render  # noqa: PLC0415 - see above
    from loadtest.fit.sources import DataError, read_data  # noqa: PLC0415 - see above

    try:
        data = read_data(data_directory)
    except DataError as error:
        raise BadInputError(str(error)) from error
    contents = all_files(data, progress=lambda work: print(f"fitting {work}", file=sys.stderr))
    return {name: render(content) for name, content in contents.items()}


def _write(directory: Path, texts: dict[str, str]) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
            print(directory / name)
    except OSError as error:
        raise BadInputError(f"{directory}: cannot be written: {error.strerror}.") from error
    return 0


def _check(directory: Path, texts: dict[str, str]) -> int:
    from loadtest.fit.files import differences  # noqa: PLC0415 - as in _refit

    failed = False
    for name, text in texts.items():
        path = directory / name
        found = list(differences(_committed(path), json.loads(text)))
        failed = failed or bool(found)
        for difference in found:
            print(f"{path}: {difference}", file=sys.stderr)
        print(f"{path}: {f'{len(found)} differences' if found else 'as refitted'}")
    return 1 if failed else 0


def _committed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadInputError(f"{path}: is not JSON: {error}.") from error
