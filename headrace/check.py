"""`headrace check`: validates files offline and says everything that is wrong with them."""

import argparse
from pathlib import Path
from typing import Any

from capper.api import KIND
from capper.api.files import InvalidConfigError, parse
from headrace.config_errors import BadInputError, load_documents
from headrace.fleet_file import load_fleet
from headrace.serve_file import load_serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="fleet file, serve file or PowerCappingConfig resources",
    )


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
    documents = load_documents(path)
    if any(isinstance(document, dict) and "kind" in document for document in documents):
        return _check_resources(path, documents)
    document = documents[0] if len(documents) == 1 else None
    if isinstance(document, dict) and "backends" in document:
        fleet = load_fleet(path)
        return (
            f"a fleet of {len(fleet.backends)} backends and {len(list(fleet.replicas()))} replicas"
            f" serving {', '.join(fleet.models()) or 'no model'}"
        )
    if isinstance(document, dict) and {"fleet", "ext_proc"} & set(document):
        section, fleet = load_serve(path)
        fleet_of = f"{len(fleet.backends)} backends"
        if section.kubernetes is not None:
            fleet_of = f"{len(section.kubernetes.targets)} targets in Kubernetes"
        return f"a serve file: policy {section.router.policy}, {fleet_of}"
    raise BadInputError(
        f"{path}: is neither a fleet file (backends: ...), a serve file (fleet:, ext_proc: ...)"
        f" nor a {KIND} (kind: ...)."
    )


def _check_resources(path: Path, documents: list[Any]) -> str:
    """Check every PowerCappingConfig among the documents; other kinds are not ours to judge."""
    problems: list[str] = []
    names: list[str] = []
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, dict) or document.get("kind") != KIND:
            continue
        place = f"{path}" if len(documents) == 1 else f"{path} (document {number})"
        try:
            config = parse(document)
        except InvalidConfigError as error:
            problems += [f"{place}: {problem}" for problem in error.problems]
        else:
            names.append(config.metadata.name)
    if problems:
        raise BadInputError(*problems)
    if not names:
        raise BadInputError(f"{path}: holds no {KIND}.")
    return f"{KIND} {', '.join(names)}"
