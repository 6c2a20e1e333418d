"""The power tree that `headrace smooth` deals over: of a configuration, a fleet file, or flat."""

from collections.abc import Iterable
from pathlib import Path

from capper.api import KIND
from capper.api.files import InvalidConfigError, parse
from capper.api.translate import policy_of
from capper.decide.domains import DomainTree
from capper.decide.policy import ROOT, DomainPolicy
from capper.decide.smoothing_traces import Traces
from headrace.config_errors import BadInputError, load_documents
from headrace.fleet_file import load_fleet


def tree_of(
    traces: Traces, *, source: str, config: Path | None = None, fleet: Path | None = None
) -> DomainTree:
    """The tree whose leaves the instances hang on.

    Args:
        traces: Their leaves make a flat tree where no file is given.
        source: Of the traces, for messages.
        config: A PowerCappingConfig: the whole, its domains, its racks, with their caps.
        fleet: A fleet file: the whole and the power domains of its replicas.

    Raises:
        BadInputError: A file cannot be used, or there are fewer than two leaves.
    """
    if config is not None:
        tree = DomainTree(_domains_of(config))
    elif fleet is not None:
        tree = _flat({replica.domain for replica in load_fleet(fleet).replicas()})
    else:
        tree = _flat({one.leaf for one in traces.instances if one.leaf is not None})
    if len(tree.leaves()) < 2:  # noqa: PLR2004 - one leaf leaves nothing to choose
        what = config or fleet or source
        raise BadInputError(
            f"{what}: names {len(tree.leaves())} leaf of the power tree; smoothing deals over two"
            " at least: give rackConstraints and domains, or the column leaf."
        )
    return tree


def _flat(leaves: Iterable[str]) -> DomainTree:
    return DomainTree(
        (
            DomainPolicy(name=ROOT),
            *(DomainPolicy(name=one, parent=ROOT) for one in sorted(leaves) if one != ROOT),
        )
    )


def _domains_of(path: Path) -> tuple[DomainPolicy, ...]:
    found = [
        one for one in load_documents(path) if isinstance(one, dict) and one.get("kind") == KIND
    ]
    if len(found) != 1:
        raise BadInputError(f"{path}: must hold one {KIND}, it holds {len(found)}.")
    try:
        return policy_of(parse(found[0])).domains
    except InvalidConfigError as error:
        raise BadInputError(*(f"{path}: {problem}" for problem in error.problems)) from error
