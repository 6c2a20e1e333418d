"""Whose a board is, and whether it may be set for them. Pure.

Clocks and power limits are of the whole board: a board that others use too is left alone, unless
it was declared that they may be slowed together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from capper.clocks.answers import BoardAnswer, Outcome
from capper.clocks.board import Setting

Ownership = Mapping[str, frozenset[str]]
"""UUID -> its owners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerClaim:
    """What the boards of one owner are to be held to.

    Attributes:
        owner: "namespace/pod", or a replica's address.
        workload: Owners of the same one may share a board.
        uuids: Its boards where the asker knows them; empty: those that it owns here.
        setting: To what.
    """

    owner: str
    workload: str = ""
    uuids: tuple[str, ...] = ()
    setting: Setting


def merged(*parts: Ownership) -> dict[str, frozenset[str]]:
    """Owners from several sources."""
    found: dict[str, frozenset[str]] = {}
    for part in parts:
        for uuid, owners in part.items():
            found[uuid] = found.get(uuid, frozenset()) | owners
    return found


def by_board(
    claims: Iterable[OwnerClaim],
    ownership: Ownership,
    boards: frozenset[str],
    *,
    declared: frozenset[str],
) -> tuple[dict[str, tuple[str, Setting]], list[tuple[str, BoardAnswer]]]:
    """({board: (an owner, what all its owners' claims come to)}, (owner, answer) of the refused).

    Claims on boards of other nodes are not in the answer.

    Args:
        claims: All of one holder.
        ownership: Of this node.
        boards: Of this node.
        declared: Boards that may be set though they are shared.
    """
    claims = list(claims)
    members: dict[str, set[str]] = {}
    for claim in claims:
        members.setdefault(claim.workload, set()).add(claim.owner)
    wanted: dict[str, tuple[OwnerClaim, Setting]] = {}
    for claim in claims:
        named = [uuid for uuid in claim.uuids if uuid in boards or uuid in ownership]
        own = [uuid for uuid, owners in ownership.items() if claim.owner in owners]
        for uuid in dict.fromkeys(named or own):
            first, setting = wanted.get(uuid, (claim, claim.setting))
            wanted[uuid] = (first, setting.tightened(claim.setting))
    refused = []
    for uuid, (claim, _) in list(wanted.items()):
        strangers = ownership.get(uuid, frozenset()) - members[claim.workload]
        if strangers and uuid not in declared:
            del wanted[uuid]
            names = ", ".join(sorted(strangers))
            said = f"{uuid}: is also used by {names}, whom its clock would slow down."
            answer = BoardAnswer(uuid=uuid, outcome=Outcome.REFUSED, sentence=said)
            refused.append((claim.owner, answer))
    return {uuid: (claim.owner, setting) for uuid, (claim, setting) in wanted.items()}, refused
