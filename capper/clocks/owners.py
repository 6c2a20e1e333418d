"""Whose a board is, and whether it may be set for them. Pure.

Clocks and power limits are of the whole board: a board that others use too is left alone, unless
it was declared that they may be slowed together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardWish:
    """What all claims on a board come to.

    Attributes:
        workload: Of the first of them.
        owners: Who claims it.
        setting: The lowest of each.
    """

    workload: str
    owners: tuple[str, ...] = ()
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
) -> tuple[dict[str, BoardWish], list[tuple[str, BoardAnswer]]]:
    """({board: what all claims on it come to}, (owner, answer) of the refused).

    Claims on boards of other nodes are not in the answer.

    Args:
        claims: All of one holder.
        ownership: Of this node.
        boards: Of this node.
        declared: Boards that may be set though they are shared.
    """
    claims = list(claims)
    members: dict[str, set[str]] = {}
    wishes: dict[str, BoardWish] = {}
    for claim in claims:
        members.setdefault(claim.workload, set()).add(claim.owner)
        named = [uuid for uuid in claim.uuids if uuid in boards or uuid in ownership]
        own = [uuid for uuid, owners in ownership.items() if claim.owner in owners]
        for uuid in dict.fromkeys(named or own):
            wish = wishes.get(uuid, BoardWish(workload=claim.workload, setting=claim.setting))
            wishes[uuid] = replace(
                wish,
                owners=(*wish.owners, claim.owner),
                setting=wish.setting.tightened(claim.setting),
            )
    refused = []
    for uuid, wish in list(wishes.items()):
        strangers = ownership.get(uuid, frozenset()) - members[wish.workload]
        if strangers and uuid not in declared:
            del wishes[uuid]
            names = ", ".join(sorted(strangers))
            said = f"{uuid}: is also used by {names}, whom its clock would slow down."
            answer = BoardAnswer(uuid=uuid, outcome=Outcome.REFUSED, sentence=said)
            refused += [(owner, answer) for owner in wish.owners]
    return wishes, refused
