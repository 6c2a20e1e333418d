"""`headrace check`: validates files offline and says everything that is wrong with them."""

import argparse
from pathlib import Path
from typing import Any

from capper.api import KIND
from capper.api.files import InvalidConfigError, parse
from capper.vertical.recommendation import unsupported
from headrace.agent_file import load_agent
from headrace.config_errors import BadInputError, load_documents
from headrace.fleet_file import load_fleet
from headrace.serve_file import load_serve
from headrace.tune_file import load_tune

_VERTICAL = "VerticalPodAutoscaler"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="fleet, serve, agent or tune file, or PowerCappingConfig resources",
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
    if isinstance(document, dict) and {"owners", "kubelet_socket"} & set(document):
        return f"an agent file: {len(load_agent(path).ownership())} boards declared"
    if isinstance(document, dict) and "sweep" in document:
        tune, _, backend = load_tune(path)
        return f"a tune file: {backend.name}, {len(tune.sweep.clocks())} clocks"
    if isinstance(document, dict) and {"fleet", "ext_proc"} & set(document):
        section, fleet = load_serve(path)
        fleet_of = f"{len(fleet.backends)} backends"
        if section.kubernetes is not None:
            fleet_of = f"{len(section.kubernetes.targets)} targets in Kubernetes"
        return f"a serve file: policy {section.router.policy}, {fleet_of}"
    raise BadInputError(
        f"{path}: is neither a fleet file (backends: ...), a serve file (fleet:, ext_proc: ...),"
        " an agent file (owners: or kubelet_socket:), a tune file (sweep: ...)"
        f" nor a {KIND} (kind: ...)."
    )


def _check_resources(path: Path, documents: list[Any]) -> str:
    """Check every PowerCappingConfig, and GPUs in VerticalPodAutoscalers.

    Other kinds are not ours to judge.
    """
    problems: list[str] = []
    names: list[str] = []
    verticals: list[str] = []
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, dict) or document.get("kind") not in (KIND, _VERTICAL):
            continue
        place = f"{path}" if len(documents) == 1 else f"{path} (document {number})"
        if document["kind"] == _VERTICAL:
            problems += [f"{place}: {problem}" for problem in unsupported(document)]
            verticals.append((document.get("metadata") or {}).get("name") or "")
            continue
        try:
            config = parse(document)
        except InvalidConfigError as error:
            problems += [f"{place}: {problem}" for problem in error.problems]
        else:
            names.append(config.metadata.name)
    if problems:
        raise BadInputError(*problems)
    if not names and not verticals:
        raise BadInputError(f"{path}: holds no {KIND}.")
    listed = ((KIND, names), (_VERTICAL, verticals))
    return "; ".join(f"{kind} {', '.join(found)}" for kind, found in listed if found)
