"""The board that the router reads, in the domains that the router knows. Pure."""

from collections.abc import Iterable
from types import MappingProxyType

from capper.decide.board import price_board
from capper.decide.domains import DomainTree
from capper.decide.plan import ShedLevel
from capper.decide.policy import Policy
from capper.decide.state import DomainState, State
from fleet.price import NEUTRAL_PRICE_RATIO, PriceBoard
from fleet.topology import Fleet

_NOTHING = DomainState()


def fleet_board(
    parts: Iterable[tuple[Policy, State]], fleet: Fleet | None, *, expires_seconds: float
) -> PriceBoard:
    """The price board of all configurations.

    A configuration that names no racks has one domain, the whole. What holds there holds in every
    domain of the fleet in which its targets have replicas and that it does not name itself; for
    one whose backends are not in the fleet, in every such domain.

    Args:
        parts: (policy, state after `applied`) of each configuration.
        fleet: The router's; None where no router is in this process.
        expires_seconds: Monotonic time after which the router ignores the board.
    """
    listed = list(parts)
    board = price_board(listed, expires_seconds=expires_seconds)
    ratios = dict(board.ratios)
    shedding, refusing = set(board.shedding), set(board.refusing)
    for policy, state in listed if fleet is not None else ():
        tree = DomainTree(policy.domains)
        whole = state.domains.get(tree.root, _NOTHING)
        price = whole.price_ratio if tree.root in tree.leaves() else NEUTRAL_PRICE_RATIO
        for domain in _domains(policy, fleet, tree):
            ratios[domain] = max(price, ratios.get(domain, NEUTRAL_PRICE_RATIO))
            if whole.shed_level >= ShedLevel.SHEDDABLE:
                shedding.add(domain)
            if whole.shed_level >= ShedLevel.ALL:
                refusing.add(domain)
    return PriceBoard(
        ratios=MappingProxyType(ratios),
        shedding=frozenset(shedding),
        refusing=frozenset(refusing),
        expires_seconds=expires_seconds,
    )


def _domains(policy: Policy, fleet: Fleet | None, tree: DomainTree) -> set[str]:
    replicas = [] if fleet is None else list(fleet.replicas())
    backends = {target.backend for target in policy.targets}
    own = [replica for replica in replicas if replica.backend in backends]
    return {replica.domain for replica in own or replicas if replica.domain not in tree.domains}
