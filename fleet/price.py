"""The price of power per domain: how the capper speaks to the router."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NEUTRAL_PRICE_RATIO = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBoard:
    """Multipliers on joules by power domain, valid for a limited time (a dead-man switch).

    Attributes:
        ratios: Domain -> multiplier (>= 1 makes its joules dearer).
        shedding: Domains that are to refuse sheddable requests.
        refusing: Domains that are to refuse all new requests.
        expires_seconds: Monotonic time after which the board is void and everything costs 1.
    """

    ratios: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    shedding: frozenset[str] = frozenset()
    refusing: frozenset[str] = frozenset()
    expires_seconds: float = 0.0

    def ratio(self, domain: str, *, now_seconds: float) -> float:
        """The multiplier in force for `domain`."""
        if now_seconds > self.expires_seconds:
            return NEUTRAL_PRICE_RATIO
        return self.ratios.get(domain, NEUTRAL_PRICE_RATIO)

    def refuses(self, domain: str, *, sheddable: bool, now_seconds: float) -> bool:
        """Whether `domain` is to take no new request of this kind."""
        if now_seconds > self.expires_seconds:
            return False
        return domain in self.refusing or (sheddable and domain in self.shedding)


class PriceHolder:
    """One reference, written by the capper and read by the router."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        """Start neutral."""
        self.current = PriceBoard()
