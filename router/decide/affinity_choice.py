"""Whether going to where a prompt is cached, or an adapter loaded, is worth the joules. Pure."""

from collections.abc import Callable

from router.decide.affinity_nearness import Nearness
from router.decide.affinity_sessions import SessionVerdict
from router.decide.demand import Demand
from router.decide.pool import Pool
from router.decide.request_joules import decode_share_joules, marginal_joules, prompt_joules
from router.decide.unit import Unit


def nearest(default: Unit, pool: Pool, demand: Demand, passes: Callable[[Unit], bool]) -> Unit:
    """The replica with the fewest joules among `default` and those that are nearer.

    Each costs the part of the prompt that it has not cached, its adapter's load, and the answer:
    at the operating point of its group, or as the share of its present batch where that is more.
    So a small saving neither wakes an idle replica nor undoes packing.

    Args:
        default: What would be picked if nothing was cached anywhere.
        pool: The model's replicas.
        demand: The request.
        passes: Whether a replica may be picked and keeps the objective. Only those on the same
            side of the committed set as `default` are asked about.
    """
    if demand.near is None:
        return default
    here, best, fewest_joules = demand.near.at(default.address), default, float("inf")
    others, committed = demand.near.beyond(here), pool.committed
    others = others & committed if default.address in committed else others - committed
    if not others:
        return default
    for group, unit in pool.ranking().in_groups({*others, default.address}):
        if unit is not default and not _is_nearer(demand.at(unit.address), here):
            continue
        planned_joules = group.price_ratio * group.decode_joules_per_token * demand.output_tokens
        joules = max(planned_joules, decode_share_joules(unit, demand)) + prompt_joules(
            unit, demand
        )
        if joules < fewest_joules and (unit is default or passes(unit)):
            best, fewest_joules = unit, joules
    return best


def _is_nearer(there: Nearness, here: Nearness) -> bool:
    """Whether there is more of the prompt, or less to load."""
    return there.cached_tokens > here.cached_tokens or there.load_seconds < here.load_seconds


def stays(home: Unit, default: Unit, pool: Pool, demand: Demand) -> bool:
    """Whether a session stays with a replica that keeps the objective.

    On a committed replica always. One that is to be emptied keeps it only while the joules that
    its cached conversation saves outweigh what running on costs.
    """
    if home.address in pool.committed or default.address not in pool.committed:
        return True
    return marginal_joules(home, demand) <= marginal_joules(default, demand)


def session_verdict(
    demand: Demand, chosen: Unit, *, home: Unit | None, late: Callable[[Unit], float]
) -> SessionVerdict:
    """What became of the request's session.

    Args:
        demand: With the address of the session's home.
        chosen: The pick.
        home: That replica where it may be picked, else None.
        late: Worst prediction over limit on a replica.
    """
    if demand.session_home is None:
        return SessionVerdict.NEW
    if demand.session_home == chosen.address:
        return SessionVerdict.KEPT
    if home is None:
        return SessionVerdict.BROKEN_GONE
    return SessionVerdict.BROKEN_GUARD if late(home) > 1.0 else SessionVerdict.BROKEN_DEARER
