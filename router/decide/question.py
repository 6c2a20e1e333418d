"""What a policy is asked: one request, and the replicas that it may be picked for. Pure."""

from collections.abc import Sequence

import msgspec

from router.decide.demand import Demand
from router.decide.guard import lateness
from router.decide.outcome import Counterfactual
from router.decide.overflow import any_in_time, least_capacity, least_late
from router.decide.pool import Pool
from router.decide.request_joules import marginal_joules
from router.decide.unit import Unit


class Question(msgspec.Struct, frozen=True):
    """All that a policy may look at.

    Attributes:
        pool: The model's replicas.
        eligible: Those that are healthy and within the request's subset; never empty.
        few: The same where the request is limited to few; else None.
        demand: The request.
        kv_limit_ratio: Predicted KV use that counts as full.
        now_seconds: Monotonic time.
        draw: A number drawn uniformly from [0, 1).
        sequence: How many picks this model has had.
    """

    pool: Pool
    eligible: Sequence[Unit]
    few: Sequence[Unit] | None
    demand: Demand
    kv_limit_ratio: float
    now_seconds: float
    draw: float
    sequence: int

    def lateness(self, unit: Unit) -> float:
        """Worst prediction over limit on `unit`; at most 1 when the guard passes."""
        return lateness(unit, self.demand, self.kv_limit_ratio, self.now_seconds)

    def home(self) -> Unit | None:
        """Where the request's session was served last, if that may be picked."""
        address = self.demand.session_home
        if address is None:
            return None
        return self.pool.ranking().unit(address) if self.demand.allows(address) else None

    def fewest_running(self) -> Unit:
        """The eligible unit with the fewest requests."""
        ties = self.pool.ranking().ties(self.demand, self.few)
        return min(ties, key=lambda unit: unit.address)

    def least_loaded(self) -> Unit:
        """One of the eligible units that tie for the fewest requests, drawn."""
        return self.pool.ranking().least_loaded(self.demand, self.draw, self.few)

    def counterfactual(self, chosen: Unit, joules: float) -> Counterfactual:
        """What least-request would have picked, before this request is entered.

        Args:
            chosen: What was picked.
            joules: Predicted there, price apart.
        """
        unit = self.least_loaded()
        if unit is not chosen:
            joules = marginal_joules(unit, self.demand) / unit.price_ratio
        return Counterfactual(unit.address, joules)

    def fullest_in_time(self, *, is_committed: bool | None = None) -> Unit | None:
        """The fullest unit, of the best group by merit, that is in time.

        Args:
            is_committed: In or out of the committed set; None: wherever.
        """
        return self.pool.ranking().fullest_in_time(
            self.demand, self.few, is_committed, self.kv_limit_ratio, self.now_seconds
        )

    def least_late(self) -> Unit:
        """The eligible unit that misses its limits by least."""
        return least_late(
            self.pool.ranking(), self.demand, self.few, self.kv_limit_ratio, self.now_seconds
        )

    def overflow(self) -> Unit:
        """Where a request goes that no guard lets in (docs/decisions/0017-overflow.md).

        As long as a usual request could be in time somewhere, the margin aside, to the least late.
        After that it would make others late as well, so it goes where those are fewest: to the
        replica of least capacity, until that has half a minute of work, and then to the next.
        """
        ranking, demand, few = self.pool.ranking(), self.demand, self.few
        usual = msgspec.structs.replace(
            demand,
            prompt_tokens=min(demand.prompt_tokens, demand.mix.prompt_tokens),
            ttft_objective_seconds=None,
            tpot_objective_seconds=None,
        )
        if not any_in_time(ranking, usual, few, self.kv_limit_ratio, self.now_seconds):
            unit = least_capacity(ranking, demand, few, self.now_seconds)
            if unit is not None:
                return unit
        return self.least_late()
