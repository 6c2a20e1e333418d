"""What the router reads: the price board, from what the capper has in force."""

from collections.abc import Iterable
from types import MappingProxyType

from capper.decide.domains import DomainTree
from capper.decide.plan import ShedLevel
from capper.decide.policy import Policy
from capper.decide.state import DomainState, State
from fleet.price import PriceBoard

_NOTHING = DomainState()


def price_board(parts: Iterable[tuple[Policy, State]], *, expires_seconds: float) -> PriceBoard:
    """The board of one or more configurations; of two on one domain the dearer and stricter wins.

    Args:
        parts: (policy, state after `applied`) of each configuration.
        expires_seconds: Monotonic time after which the router ignores it: a few turns of the loop.
    """
    ratios: dict[str, float] = {}
    shedding: set[str] = set()
    refusing: set[str] = set()
    for policy, state in parts:
        tree = DomainTree(policy.domains)
        for leaf in tree.leaves():
            ratio = state.domains.get(leaf, _NOTHING).price_ratio
            ratios[leaf] = max(ratio, ratios.get(leaf, 1.0))
            level = max(state.domains.get(name, _NOTHING).shed_level for name in tree.path(leaf))
            if level >= ShedLevel.SHEDDABLE:
                shedding.add(leaf)
            if level >= ShedLevel.ALL:
                refusing.add(leaf)
    return PriceBoard(
        ratios=MappingProxyType(ratios),
        shedding=frozenset(shedding),
        refusing=frozenset(refusing),
        expires_seconds=expires_seconds,
    )
