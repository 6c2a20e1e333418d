"""A replica as dispatch sees it: its profile and its corrected load.

"Corrected": scraped load as of the time it was scraped, plus own starts and minus own ends since.
What remains after taking the own requests out is foreign load, which only the next scrape changes.
"""

from fleet.physics import Mix
from fleet.profile import Profile
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import Signals
from fleet.topology import Backend, Replica
from router.decide.board import Board, Point
from router.decide.decayed_sum import DecayedSum
from router.decide.ledger import Account

# A window shorter than a prompt or two would call every single prompt a burst.
_MIN_BURST_SECONDS = 0.1


class Unit:
    """One replica's operating state; rebuilt readings, shared account.

    Attributes:
        replica: Its declaration.
        address: The replica's, as "ip:port".
        backend: Its backend's.
        account: The ledger's account of it.
        board: What it shares with its backend's other replicas, its profile among it.
        running: B: foreign and own requests, waiting ones included. Others are taken to have done
            since the scrape what we have done, in proportion.
        resident_tokens: KV: own requests' mean residence, corrected by the last scrape. At least
            half of the ledger's own figure: a scrape taken just before a wave of long prompts must
            not make a filling replica look empty.
        point: The board at B.
        price_ratio: The capper's multiplier on its joules.
        healthy: False only when a fresh reading says that it refuses connections.
        observed: Whether any load or power reading of it is fresh.
        foreign_running: Requests on it that were not ours when it was scraped.
        own_running_then: Requests on it that were; None without a fresh scrape.
        fleet_ratio: All requests of its models over our own (router.decide.foreign_load).
        kv_correction_tokens: Scraped KV use minus what the ledger believed at that time.
        foreign_wait_seconds: Prefill time of requests that wait in its engine beyond our own.
        waiting_requests: As scraped, or None.
        kv_usage_ratio: As scraped, or None.
        tokens_per_joule: As scraped (tokens/s over watts), or None.
        prompt_inflow: Prefill seconds of own prompts sent here lately, fading.
    """

    __slots__ = (
        "_own_resident_then",
        "account",
        "address",
        "backend",
        "board",
        "fleet_ratio",
        "foreign_running",
        "foreign_wait_seconds",
        "healthy",
        "kv_capacity_tokens",
        "kv_correction_tokens",
        "kv_usage_ratio",
        "observed",
        "own_running_then",
        "point",
        "price_ratio",
        "prompt_inflow",
        "replica",
        "resident_tokens",
        "running",
        "tokens_per_joule",
        "waiting_requests",
    )

    def __init__(
        self, *, replica: Replica, backend: Backend, account: Account, board: Board
    ) -> None:
        """A unit with nothing observed yet: the ledger alone. From now on `account` tells it."""
        self.replica = replica
        self.address = replica.address
        self.backend = backend
        self.account = account
        self.board = board
        self.price_ratio = 1.0
        self.fleet_ratio = 1.0
        self.kv_capacity_tokens = board.profile.kv_capacity_tokens
        self.prompt_inflow = DecayedSum(1.0)
        self._unobserve()
        self.running, self.resident_tokens = 0.0, 0.0
        self.point: Point = board.at(0.0)
        self.reload()
        account.watcher = self

    @property
    def profile(self) -> Profile:
        """The prior, corrected by what was learned."""
        return self.board.profile

    def equip(self, board: Board) -> None:
        """Take on what was learned of the backend."""
        self.board = board
        self.point = board.at(self.running)

    def scale(self, fleet_ratio: float) -> None:
        """Others' load is this multiple of our own, ours included."""
        if fleet_ratio != self.fleet_ratio:
            self.fleet_ratio = fleet_ratio
            self.reload()

    def reload(self) -> None:
        """Correct the load, after anything that it is made of has changed."""
        account = self.account
        own, own_tokens, then = account.running, account.resident_tokens, self.own_running_then
        running, tokens = self.foreign_running + own, own_tokens + self.kv_correction_tokens
        if then is not None and self.fleet_ratio != 1.0:
            others = self.fleet_ratio - 1.0
            running = max(0.0, self.foreign_running + others * (own - then)) + own
            tokens += others * (own_tokens - self._own_resident_then)
        self.running = running
        self.resident_tokens = max(0.5 * own_tokens, tokens)
        self.point = self.board.points.get(running) or self.board.at(running)

    def _unobserve(self) -> None:
        """Fall back to the ledger alone: unknown load is neither zero nor saturation."""
        self.healthy = True
        self.observed = False
        self.foreign_running = 0.0
        self.own_running_then: int | None = None
        self._own_resident_then = 0.0
        self.kv_correction_tokens = 0.0
        self.foreign_wait_seconds = 0.0
        self.waiting_requests: float | None = None
        self.kv_usage_ratio: float | None = None
        self.tokens_per_joule: float | None = None

    def observe(
        self,
        signals: Signals,
        freshness: FreshnessPolicy,
        mix: Mix,
        *,
        burst_life_ratio: float,
        now_seconds: float,
    ) -> None:
        """Take in the newest readings; stale and missing ones leave the ledger alone.

        Args:
            signals: Of this replica.
            freshness: When they stop counting.
            mix: Of what it serves.
            burst_life_ratio: Part of a mean answer's life over which prompts are added up.
            now_seconds: Monotonic time.
        """
        self._unobserve()
        life_seconds = mix.output_tokens * self.backend.objective.tpot_seconds
        self.prompt_inflow.change_window(
            max(_MIN_BURST_SECONDS, burst_life_ratio * life_seconds), now_seconds=now_seconds
        )

        look_up, fresh_seconds = signals.get, freshness.fresh_seconds

        def fresh(kind: SignalKind) -> float | None:
            # As FreshnessPolicy.fresh_value has it, without another call for each of them.
            signal = look_up(kind)
            if signal is None or now_seconds - signal.observed_seconds > fresh_seconds:
                return None
            return signal.value

        healthy = fresh(SignalKind.HEALTHY_RATIO)
        self.healthy = healthy is None or healthy >= 0.5  # noqa: PLR2004 - a ratio of yes and no
        self.kv_capacity_tokens = _capacity(signals) or self.board.profile.kv_capacity_tokens
        self.waiting_requests = fresh(SignalKind.WAITING_REQUESTS)
        self.kv_usage_ratio = fresh(SignalKind.KV_USAGE_RATIO)
        watts = fresh(SignalKind.POWER_WATTS)
        tokens_per_second = fresh(SignalKind.GENERATION_TOKENS_PER_SECOND)
        if watts and tokens_per_second is not None:
            self.tokens_per_joule = tokens_per_second / watts
        self._correct_load(signals, mix, running=fresh(SignalKind.RUNNING_REQUESTS))
        self.observed = self.observed or watts is not None or healthy is not None
        self.reload()

    def _correct_load(self, signals: Signals, mix: Mix, *, running: float | None) -> None:
        if running is None:
            return
        self.observed = True
        waiting = self.waiting_requests or 0.0
        observed_seconds = signals[SignalKind.RUNNING_REQUESTS].observed_seconds
        own_running, own_resident = self.account.at(observed_seconds)
        self.own_running_then, self._own_resident_then = own_running, own_resident
        self.foreign_running = max(0.0, running + waiting - own_running)
        if waiting > 0.0:
            foreign_waiting = min(waiting, self.foreign_running)
            seconds_each = self._mean_prompt_seconds(mix, running)
            self.foreign_wait_seconds = foreign_waiting * seconds_each
            own_waiting = waiting - foreign_waiting
            if own_waiting > 0.0:
                self.account.queue_until(observed_seconds + own_waiting * seconds_each)
        if self.kv_usage_ratio is not None:
            self.kv_correction_tokens = self.kv_usage_ratio * self.kv_capacity_tokens - own_resident

    def _mean_prompt_seconds(self, mix: Mix, running: float) -> float:
        """Time to compute a mean prompt beside `running` others."""
        step, new_tokens = self.profile.step, mix.computed_prompt_tokens
        decode_seconds = step.decode_seconds(running, running * mix.resident_tokens)
        return step.prompt_seconds(new_tokens) + new_tokens / step.chunk_tokens * decode_seconds


def _capacity(signals: Signals) -> float | None:
    """KV capacity, whatever its age: an engine's cache does not change size while it runs."""
    signal = signals.get(SignalKind.KV_CAPACITY_TOKENS)
    return signal.value if signal is not None and signal.value > 0.0 else None
