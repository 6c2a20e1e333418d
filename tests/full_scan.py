"""The picking rules as plain scans of the whole fleet: what the kept orders must agree with."""

import msgspec
from full_guard import predict

from router.decide.demand import admits
from router.decide.outcome import PickReason
from router.decide.policies import Choice
from router.decide.request_joules import decode_share_joules, marginal_joules, prompt_joules


def in_time(question, unit):
    return predict(
        unit,
        question.demand,
        kv_limit_ratio=question.kv_limit_ratio,
        now_seconds=question.now_seconds,
    ).passes


def eligible(question):
    return [u for u in question.pool.units if u.healthy and question.demand.allows(u.address)]


def in_merit_order(question):
    return sorted(question.pool.groups, key=lambda group: group.rank(question.demand))


def pack(question, allowed):
    for group in in_merit_order(question):
        for unit in sorted(group.units, key=lambda unit: (-unit.running, unit.address)):
            inside = question.demand.allows(unit.address) and allowed(unit)
            if inside and in_time(question, unit):
                return unit
    return None


def least_loaded(question):
    units = eligible(question)
    fewest = min(unit.running for unit in units)
    tied = [unit for unit in units if unit.running == fewest]
    return tied[int(question.draw * len(tied))]


def lateness(question, unit, demand):
    return predict(
        unit,
        demand,
        kv_limit_ratio=question.kv_limit_ratio,
        now_seconds=question.now_seconds,
    ).lateness_ratio


def least_late(question):
    units = eligible(question)
    return min(units, key=lambda unit: (lateness(question, unit, question.demand), unit.address))


def overflow(question):
    """docs/decisions/0017-overflow.md"""
    demand = question.demand
    usual = msgspec.structs.replace(
        demand,
        prompt_tokens=min(demand.prompt_tokens, demand.mix.prompt_tokens),
        ttft_objective_seconds=None,
        tpot_objective_seconds=None,
    )
    units = eligible(question)
    if any(
        lateness(question, unit, usual) * unit.backend.objective.margin_ratio <= 1.0
        for unit in units
    ):
        return least_late(question)
    capacities = {
        unit.address: group.capacity_requests_per_second
        for group in question.pool.groups
        for unit in group.units
    }
    room = [
        unit
        for unit in units
        if unit.running < 30.0 * capacities.get(unit.address, 0.0)
        and unit.account.prefill_free_seconds - question.now_seconds < 30.0
    ]
    if not room:
        return least_late(question)
    return min(room, key=lambda unit: (capacities[unit.address], unit.address))


def fallbacks_order(question):
    """All that may serve, best first."""
    groups = in_merit_order(question)
    merit = {unit.address: place for place, group in enumerate(groups) for unit in group.units}
    return sorted(
        [unit for unit in question.pool.units if unit.healthy],
        key=lambda unit: (
            unit.running >= unit.backend.max_running_requests,
            unit.address not in question.pool.committed,
            merit.get(unit.address, len(merit)),
            unit.running,
            unit.address,
        ),
    )


def pass_on(units, subset, *, avoided, draw, count):
    admitted = [unit for unit in units if unit.healthy and admits(subset, unit.address)]
    start = int(draw * len(admitted))
    turned = admitted[start:] + admitted[:start]
    turned.sort(key=lambda unit: (unit.address in avoided, unit.running))
    return tuple(unit.address for unit in turned[:count])


def dispatch(question):
    committed, units = question.pool.committed, eligible(question)
    if not any(unit.observed for unit in units):
        fewest = min(units, key=lambda unit: (unit.running, unit.address))
        return Choice(near(question, fewest), PickReason.DEGRADED)
    default = pack(question, lambda unit: unit.address in committed)
    if default is None:
        default = pack(question, lambda unit: unit.address not in committed)
    if default is None:
        return Choice(overflow(question), PickReason.LEAST_LATE)
    unit = near(question, default)
    inside = unit.address in committed
    return Choice(unit, PickReason.COMMITTED if inside else PickReason.OPENED)


def merit_packing(question):
    unit = pack(question, lambda _: True)
    if unit is None:
        return Choice(overflow(question), PickReason.LEAST_LATE)
    return Choice(unit, PickReason.POLICY)


def near(question, default):
    home = home_of(question, default)
    return nearest(question, default) if home is None else home


def home_of(question, default):
    """The session's home where it may stay."""
    demand, committed = question.demand, question.pool.committed
    for home in eligible(question):
        if home.address == demand.session_home and in_time(question, home):
            joules = marginal_joules(home, demand), marginal_joules(default, demand)
            inside = default.address in committed
            if home.address in committed or not inside or joules[0] <= joules[1]:
                return home
    return None


def nearest(question, default):
    """Of the default and all that are nearer, the one with the fewest joules."""
    demand = question.demand
    best, fewest_joules = default, float("inf")
    for group in question.pool.groups if demand.near is not None else ():
        planned = group.price_ratio * group.decode_joules_per_token * demand.output_tokens
        for unit in group.units:
            if unit is default or may_be_nearer(question, default, unit):
                decode = max(planned, decode_share_joules(unit, demand))
                joules = decode + prompt_joules(unit, demand)
                if joules < fewest_joules:
                    best, fewest_joules = unit, joules
    return best


def may_be_nearer(question, default, unit):
    demand, committed = question.demand, question.pool.committed
    here, there = demand.at(default.address), demand.at(unit.address)
    more = there.cached_tokens > here.cached_tokens or there.load_seconds < here.load_seconds
    alike = (unit.address in committed) == (default.address in committed)
    return more and alike and demand.allows(unit.address) and in_time(question, unit)
