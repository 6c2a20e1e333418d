"""The picking policies: ours, and the rivals it is measured against. All see the same units.

A policy answers with a unit and the reason; "no unit keeps the objective" is an answer too (the
least late one), because shedding is decided in one place, for all of them alike.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from router.decide.affinity_choice import nearest, stays
from router.decide.outcome import PickReason
from router.decide.pool import Pool
from router.decide.unit import Demand, Unit

# Long enough that one replica takes a wave's excess, short enough that a caller still waits.
_OVERFLOW_SECONDS = 30.0


class Choice(NamedTuple):
    """A policy's answer."""

    unit: Unit
    reason: PickReason


class Question(NamedTuple):
    """All that a policy may look at.

    Attributes:
        pool: The model's replicas.
        eligible: Those that are healthy and within the request's subset; never empty.
        demand: The request.
        kv_limit_ratio: Predicted KV use that counts as full.
        now_seconds: Monotonic time.
        draw: A number drawn uniformly from [0, 1).
        sequence: How many picks this model has had.
    """

    pool: Pool
    eligible: Sequence[Unit]
    demand: Demand
    kv_limit_ratio: float
    now_seconds: float
    draw: float
    sequence: int

    def lateness(self, unit: Unit) -> float:
        """Worst prediction over limit on `unit`; at most 1 when the guard passes."""
        return unit.predict(
            self.demand, kv_limit_ratio=self.kv_limit_ratio, now_seconds=self.now_seconds
        ).lateness_ratio

    def home(self) -> Unit | None:
        """Where the request's session was served last, if that may be picked."""
        address = self.demand.session_home
        if address is None:
            return None
        return next((unit for unit in self.eligible if unit.address == address), None)

    def least_late(self) -> Unit:
        """The eligible unit that misses its limits by least."""
        return min(self.eligible, key=lambda unit: (self.lateness(unit), unit.address))

    def overflow(self) -> Unit:
        """Where a request goes that no guard lets in (docs/decisions/0017-overflow.md).

        As long as a usual request could be in time somewhere, the margin aside, to the least late.
        After that it would make others late as well, so it goes where those are fewest: to the
        replica of least capacity, until that has half a minute of work, and then to the next.
        """
        best, demand = self.least_late(), self.demand
        usual = self._replace(
            demand=demand._replace(
                prompt_tokens=min(demand.prompt_tokens, demand.mix.prompt_tokens),
                ttft_objective_seconds=None,
                tpot_objective_seconds=None,
            )
        )
        for unit in self.eligible:
            if usual.lateness(unit) * unit.backend.objective.margin_ratio <= 1.0:
                return best
        capacities = {
            unit.address: group.capacity_requests_per_second
            for group in self.pool.groups
            for unit in group.units
        }
        room = [
            unit
            for unit in self.eligible
            if unit.running < _OVERFLOW_SECONDS * capacities.get(unit.address, 0.0)
        ]
        return min(room, key=lambda unit: (capacities[unit.address], unit.address), default=best)


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
    if not any(unit.observed for unit in question.eligible):
        return Choice(_near(question, _fewest_running(question.eligible)), PickReason.DEGRADED)
    committed = question.pool.committed
    default = _pack(question, lambda unit: unit.address in committed)
    if default is None:
        default = _pack(question, lambda unit: unit.address not in committed)
    if default is None:
        return Choice(question.overflow(), PickReason.LEAST_LATE)
    unit = _near(question, default)
    inside = unit.address in committed
    return Choice(unit, PickReason.COMMITTED if inside else PickReason.OPENED)


def merit_packing(question: Question) -> Choice:
    """Dispatch without commitment: packs in merit order over the whole fleet."""
    choice = _pack(question, lambda _: True)
    if choice is not None:
        return Choice(choice, PickReason.POLICY)
    return Choice(question.overflow(), PickReason.LEAST_LATE)


def greedy_marginal(question: Question) -> Choice:
    """Least joules added at this very moment, among those that pass the guard."""
    passing = [unit for unit in question.eligible if question.lateness(unit) <= 1.0]
    if not passing:
        return Choice(question.overflow(), PickReason.LEAST_LATE)
    best = min(passing, key=lambda unit: (unit.marginal_joules(question.demand), unit.address))
    return Choice(best, PickReason.POLICY)


def round_robin(question: Question) -> Choice:
    """Each in turn."""
    unit = question.eligible[question.sequence % len(question.eligible)]
    return Choice(unit, PickReason.POLICY)


def least_request(question: Question) -> Choice:
    """Fewest requests in flight, the sum of ours and what was scraped; ties at random."""
    fewest = min(unit.running for unit in question.eligible)
    tied = [unit for unit in question.eligible if unit.running == fewest]
    return Choice(_drawn(tied, question.draw), PickReason.POLICY)


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
        return Choice(_fewest_running(question.eligible), PickReason.DEGRADED)
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


def _pack(question: Question, allowed: Callable[[Unit], bool]) -> Unit | None:
    """The fullest allowed unit that passes the guard, in the first group that has one."""
    for group in question.pool.in_merit_order(question.demand):
        for unit in sorted(group.units, key=_fullest_first):
            inside = question.demand.allows(unit.address)
            if inside and allowed(unit) and question.lateness(unit) <= 1.0:
                return unit
    return None


def _near(question: Question, default: Unit) -> Unit:
    """The session's home, or the nearest, where the guard passes; else `default`."""
    demand, pool = question.demand, question.pool
    home = question.home()
    if home is not None and question.lateness(home) <= 1.0 and stays(home, default, pool, demand):
        return home
    inside = default.address in pool.committed

    def passes(unit: Unit) -> bool:
        return (
            (unit.address in pool.committed) == inside
            and unit.healthy
            and demand.allows(unit.address)
            and question.lateness(unit) <= 1.0
        )

    return nearest(default, pool, demand, passes)


def _fullest_first(unit: Unit) -> tuple[float, str]:
    return (-unit.running, unit.address)


def _fewest_running(units: Sequence[Unit]) -> Unit:
    return min(units, key=lambda unit: (unit.running, unit.address))


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
