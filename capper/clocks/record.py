"""What outlives the agent: the state of boards before they were touched. Pure.

It is written before the first order, so that whatever ends the agent, the next one can put back
what was there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from capper.clocks.board import Board, Setting
from capper.clocks.holding import Holding
from capper.clocks.lease import Lease, OnExpiry

SCHEMA = 1


class DamagedRecordError(Exception):
    """A record that cannot be read; the sentence says what is wrong."""


def to_document(holdings: Iterable[Holding]) -> dict[str, Any]:
    """The record of boards that are held or not yet put back."""
    boards = {
        one.board.uuid: {
            "original_limit_watts": one.original_watts,
            "leases": [_lease_document(lease) for lease in one.leases],
        }
        for one in holdings
    }
    return {"schema": SCHEMA, "boards": dict(sorted(boards.items()))}


def from_document(document: Any, boards: Mapping[str, Board]) -> list[Holding]:
    """The holdings of a record: nothing of them is known to be in force, and their leases go on.

    A board that is not there now is kept, absent, until it comes back.

    Raises:
        DamagedRecordError: It is not a record of this schema.
    """
    try:
        if document["schema"] != SCHEMA:
            raise DamagedRecordError(f"schema must be {SCHEMA}, got {document['schema']!r}.")
        return [
            Holding(
                board=boards.get(uuid, Board(uuid=uuid)),
                original_watts=_number(one["original_limit_watts"]),
                leases=tuple(_lease(lease) for lease in one["leases"]),
                known=False,
                touched=True,
                present=uuid in boards,
            )
            for uuid, one in document["boards"].items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedRecordError(f"it is not a record of boards: {error!r}.") from error


def _lease_document(lease: Lease) -> dict[str, Any]:
    return {
        "holder": lease.holder,
        "max_hertz": lease.setting.max_hertz,
        "limit_watts": lease.setting.limit_watts,
        "on_expiry": lease.on_expiry.value,
        "safe_limit_watts": lease.safe_limit_watts,
        "expired": lease.expired,
    }


def _lease(document: Mapping[str, Any]) -> Lease:
    return Lease(
        holder=str(document["holder"]),
        setting=Setting(
            max_hertz=_number(document["max_hertz"]), limit_watts=_number(document["limit_watts"])
        ),
        expires_seconds=float("-inf"),
        on_expiry=OnExpiry(document["on_expiry"]),
        safe_limit_watts=_number(document["safe_limit_watts"]),
        expired=bool(document["expired"]),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
