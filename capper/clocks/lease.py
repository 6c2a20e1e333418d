"""Who holds a board to what, until when, and what then. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum

from capper.clocks.board import FREE, Setting


class OnExpiry(StrEnum):
    """What becomes of a board whose lease is not renewed; the words of the API."""

    RESTORE = "Restore"
    HOLD_SAFE_LIMIT = "HoldSafeLimit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One holder's claim on one board.

    Attributes:
        holder: Who; one holder has one lease on a board.
        setting: What the board is held to.
        expires_seconds: Monotonic time.
        on_expiry: What then.
        safe_limit_watts: Power limit of HoldSafeLimit; None: what is in force stays.
        expired: Whether it ran out and holds the safe limit now.
    """

    holder: str
    setting: Setting
    expires_seconds: float
    on_expiry: OnExpiry = OnExpiry.RESTORE
    safe_limit_watts: float | None = None
    expired: bool = False

    def at(self, now_seconds: float) -> "Lease | None":
        """The lease at a time: itself, what is left after its end, or nothing."""
        if self.expired or now_seconds < self.expires_seconds:
            return self
        return self.ended()

    def ended(self) -> "Lease | None":
        """What is left when nobody renews it."""
        if self.expired or self.on_expiry is OnExpiry.RESTORE:
            return self if self.expired else None
        setting = self.setting
        if self.safe_limit_watts is not None:
            setting = Setting(limit_watts=self.safe_limit_watts)
        return replace(self, setting=setting, expired=True)


def wanted(leases: tuple[Lease, ...]) -> Setting:
    """What satisfies all leases of a board."""
    setting = FREE
    for lease in leases:
        setting = setting.tightened(lease.setting)
    return setting
