"""The picking policies: ours, and the rivals it is measured against. All see the same units.

A policy answers with a unit and the reason; "no unit keeps the objective" is an answer too (the
least late one), because shedding is decided in one place, for all of them alike.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from router.decide.affinity_choice import nearest, stays
from router.decide.outcome import PickReason
from router.decide.question import Question
from router.decide.request_joules import marginal_joules
from router.decide.unit import Unit


class Choice(msgspec.Struct, frozen=True):
    """A policy's answer."""

    unit: Unit
    reason: PickReason


class Policy(Protocol):
    """A picking rule."""

    def __call__(self, question: Question) -> Choice:
        """Pick one of `question.eligible`."""
        ...


def dispatch(question: Question) -> Choice:
    """Economic dispatch: committed replicas first, best merit, packed; then open the next.

    Within a group all members cost the same at their operating point, so the fullest that passes
    the guard is taken: that is what empties the others. One that has the prompt cached, or the
    adapter loaded, is taken instead where that saves joules, and a session stays where it was, as
    far as the guard passes there.
    """
    committed = question.pool.committed
    if not question.pool.ranking().observed or (
        question.demand.restricted and not any(unit.observed for unit in question.eligible)
    ):
        return Choice(_near(question, question.fewest_running()), PickReason.DEGRADED)
    default = question.fullest_in_time(is_committed=True)
    if default is None:
        default = question.fullest_in_time(is_committed=False)
    if default is None:
        return Choice(question.overflow(), PickReason.LEAST_LATE)
    unit = _near(question, default)
    inside = unit.address in committed
    return Choice(unit, PickReason.COMMITTED if inside else PickReason.OPENED)


def merit_packing(question: Question) -> Choice:
    """Dispatch without commitment: packs in merit order over the whole fleet."""
    choice = question.fullest_in_time()
    if choice is not None:
        return Choice(choice, PickReason.POLICY)
    return Choice(question.overflow(), PickReason.LEAST_LATE)


def greedy_marginal(question: Question) -> Choice:
    """Least joules added at this very moment, among those that pass the guard."""
    passing = [unit for unit in question.eligible if question.lateness(unit) <= 1.0]
    if not passing:
        return Choice(question.overflow(), PickReason.LEAST_LATE)
    best = min(passing, key=lambda unit: (marginal_joules(unit, question.demand), unit.address))
    return Choice(best, PickReason.POLICY)


def round_robin(question: Question) -> Choice:
    """Each in turn."""
    unit = question.eligible[question.sequence % len(question.eligible)]
    return Choice(unit, PickReason.POLICY)


def least_request(question: Question) -> Choice:
    """Fewest requests in flight, the sum of ours and what was scraped; ties at random."""
    return Choice(question.least_loaded(), PickReason.POLICY)


def power_of_two(question: Question) -> Choice:
    """The less loaded of two drawn at random: Envoy's own least-request."""
    count = len(question.eligible)
    if count == 1:
        return Choice(question.eligible[0], PickReason.POLICY)
    # One draw gives an ordered pair of different indices: count * (count - 1) of them.
    pair = int(question.draw * count * (count - 1))
    first, second = divmod(pair, count - 1)
    second += second >= first
    a, b = question.eligible[first], question.eligible[second]
    return Choice(a if a.running <= b.running else b, PickReason.POLICY)


def queue_and_kv(question: Question) -> Choice:
    """The endpoint picker's usual scorer: short queue and free KV, half each, as scraped.

    The queue is scaled between the shortest and the longest of the candidates; a replica without
    a fresh reading is judged by the ledger alone.
    """
    queues = [_queue(unit) for unit in question.eligible]
    low, high = min(queues), max(queues)
    spread = max(high - low, 1e-9)
    scores = [
        0.5 * (1.0 - (queue - low) / spread) + 0.5 * (1.0 - _kv_ratio(unit))
        for queue, unit in zip(queues, question.eligible, strict=True)
    ]
    best = max(scores)
    tied = [unit for unit, score in zip(question.eligible, scores, strict=True) if score == best]
    return Choice(_drawn(tied, question.draw), PickReason.POLICY)


def naive_tokens_per_watt(question: Question) -> Choice:
    """The original design's rule: the highest tokens/s per watt of the last scrape.

    A property of the batch more than of the board, so it herds; here as a warning and a baseline.
    """
    known = [unit for unit in question.eligible if unit.tokens_per_joule is not None]
    if not known:
        return Choice(question.fewest_running(), PickReason.DEGRADED)
    best = max(unit.tokens_per_joule or 0.0 for unit in known)
    tied = [unit for unit in known if unit.tokens_per_joule == best]
    return Choice(_drawn(tied, question.draw), PickReason.POLICY)


POLICIES: dict[str, Policy] = {
    "dispatch": dispatch,
    "merit-packing": merit_packing,
    "greedy-marginal": greedy_marginal,
    "round-robin": round_robin,
    "least-request": least_request,
    "power-of-two": power_of_two,
    "queue-kv": queue_and_kv,
    "naive-tokens-per-watt": naive_tokens_per_watt,
}
"""Every policy by the name that configuration and the command line use."""


def _near(question: Question, default: Unit) -> Unit:
    """The session's home, or the nearest, where the guard passes; else `default`."""
    demand, pool = question.demand, question.pool
    if demand.near is None:  # then no session has a home either
        return default
    home = question.home()
    if home is not None and question.lateness(home) <= 1.0 and stays(home, default, pool, demand):
        return home

    def passes(unit: Unit) -> bool:
        return unit.healthy and demand.allows(unit.address) and question.lateness(unit) <= 1.0

    return nearest(default, pool, demand, passes)


def _drawn(units: Sequence[Unit], draw: float) -> Unit:
    return units[int(draw * len(units))]


def _queue(unit: Unit) -> float:
    if unit.waiting_requests is not None:
        return unit.waiting_requests
    return float(unit.account.running)


def _kv_ratio(unit: Unit) -> float:
    if unit.kv_usage_ratio is not None:
        return unit.kv_usage_ratio
    return min(1.0, unit.resident_tokens / unit.kv_capacity_tokens)
