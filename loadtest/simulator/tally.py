"""What a run comes to: counted as it goes, in constant memory."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtest.simulator.accounts import RunAccounts
from loadtest.simulator.histogram import LogHistogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Quantiles in seconds; None when no request had one."""

    p50_seconds: float | None
    p99_seconds: float | None
    mean_seconds: float | None

    @classmethod
    def of(cls, histogram: LogHistogram) -> "Latencies":
        """Read the quantiles off."""
        return cls(
            p50_seconds=histogram.quantile(0.5),
            p99_seconds=histogram.quantile(0.99),
            mean_seconds=histogram.mean,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """How evenly load and service are spread.

    Attributes:
        replicas_jain_ratio: Jain's index of the requests sent to each replica, unused ones
            included: 1 when all get the same, 1/n when one of n gets all; None without requests.
            A policy that packs has a low one on purpose.
        tenants_jain_ratio: Jain's index of the tenants' attainment; None without tenants, or when
            nobody attained.
        tenants: How many there were.
        pick_flip_ratio: Requests that went to another replica than the one before them did, of all
            but the first; None for fewer than two.
    """

    replicas_jain_ratio: float | None
    tenants_jain_ratio: float | None
    tenants: int
    pick_flip_ratio: float | None


def jain_ratio(values: Iterable[float]) -> float | None:
    """Jain's index, (sum x)^2 / (n sum x^2), from 1/n to 1; None when all are 0 or there are none.

    Jain, Chiu and Hawe, DEC-TR-301, 1984.
    """
    kept = list(values)
    squares = sum(value * value for value in kept)
    return sum(kept) ** 2 / (len(kept) * squares) if squares else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One policy on one trace with one seed. Everything is simulated.

    Attributes:
        arm: Name of the policy arm.
        seed: Of the run.
        window_seconds: What was measured; joules and tokens are those of this window.
        requests: Offered in it; what became of them is counted whenever they end.
        shed: Refused by the router.
        completed: Answered.
        attained: Answered within both objectives.
        prompt_tokens: Of completed requests.
        output_tokens: Generated within the window, by all requests.
        dynamic_joules: Energy above idle, all boards.
        idle_joules: Idle power over the window, all boards.
        ttft: Of completed requests.
        tpot: Of completed requests with two tokens or more.
        pick_reasons: How often each reason was given.
        picks_by_backend: Requests sent to each backend.
        set_changes: How often the committed set changed.
        busy_ratio: Busy share of the window by backend, mean over its replicas.
        preemptions: Requests thrown out of batches.
        fairness: Over replicas and tenants.
        accounts: Caps, carbon, cooling, lives and caches; None when nobody kept any.
    """

    arm: str
    seed: int
    window_seconds: float
    requests: int
    shed: int
    completed: int
    attained: int
    prompt_tokens: int
    output_tokens: int
    dynamic_joules: float
    idle_joules: float
    ttft: Latencies
    tpot: Latencies
    pick_reasons: dict[str, int]
    picks_by_backend: dict[str, int]
    set_changes: int
    busy_ratio: dict[str, float]
    preemptions: int
    fairness: Fairness
    accounts: RunAccounts | None = None

    @property
    def joules_per_token(self) -> float | None:
        """Energy of all boards, idle included, per output token."""
        if not self.output_tokens:
            return None
        return (self.dynamic_joules + self.idle_joules) / self.output_tokens

    @property
    def tokens_per_joule(self) -> float | None:
        """Output tokens per joule of all boards: tokens per second and watt."""
        joules = self.dynamic_joules + self.idle_joules
        return self.output_tokens / joules if joules else None

    @property
    def attainment_ratio(self) -> float | None:
        """Attained over offered: a request that was shed or lost missed."""
        return self.attained / self.requests if self.requests else None

    @property
    def admitted_attainment_ratio(self) -> float | None:
        """Attained over admitted."""
        admitted = self.requests - self.shed
        return self.attained / admitted if admitted else None

    @property
    def goodput_requests_per_second(self) -> float:
        """Attained requests per second of the window."""
        return self.attained / self.window_seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values, derived ones included, ready for JSON."""
        return asdict(self) | {
            "joules_per_token": self.joules_per_token,
            "tokens_per_joule": self.tokens_per_joule,
            "attainment_ratio": self.attainment_ratio,
            "admitted_attainment_ratio": self.admitted_attainment_ratio,
            "goodput_requests_per_second": self.goodput_requests_per_second,
        }


@dataclass(slots=True, kw_only=True)
class Tally:
    """Running sums of a run."""

    ttft_objective_seconds: float
    tpot_objective_seconds: float
    requests: int = 0
    shed: int = 0
    completed: int = 0
    attained: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    set_changes: int = 0
    ttft: LogHistogram = field(default_factory=LogHistogram)
    tpot: LogHistogram = field(default_factory=LogHistogram)
    reasons: Counter[str] = field(default_factory=Counter)
    backends: Counter[str] = field(default_factory=Counter)
    _replicas: Counter[str] = field(default_factory=Counter)
    _flips: int = 0
    _last_address: str | None = None
    _offered: Counter[str] = field(default_factory=Counter)
    _attained: Counter[str] = field(default_factory=Counter)

    def offer(self, tenant: str | None) -> None:
        """Count one request that came."""
        self.requests += 1
        if tenant is not None:
            self._offered[tenant] += 1

    def send(self, address: str, backend: str) -> None:
        """Count one request that goes to a replica."""
        self.backends[backend] += 1
        self._replicas[address] += 1
        self._flips += self._last_address not in {None, address}
        self._last_address = address

    def fairness(self, *, replicas: int) -> Fairness:
        """Over `replicas` replicas, used or not, and all tenants that were seen."""
        sent = [*self._replicas.values(), *[0] * (replicas - len(self._replicas))]
        total = sum(sent)
        return Fairness(
            replicas_jain_ratio=jain_ratio(sent),
            tenants_jain_ratio=jain_ratio(
                self._attained[tenant] / offered for tenant, offered in self._offered.items()
            ),
            tenants=len(self._offered),
            pick_flip_ratio=self._flips / (total - 1) if total > 1 else None,
        )

    def complete(
        self,
        *,
        prompt_tokens: int,
        output_tokens: int,
        ttft_seconds: float,
        decode_seconds: float,
        tenant: str | None = None,
    ) -> None:
        """Count one answer."""
        self.completed += 1
        self.prompt_tokens += prompt_tokens
        self.output_tokens += output_tokens
        self.ttft.add(ttft_seconds)
        in_time = ttft_seconds <= self.ttft_objective_seconds
        if output_tokens > 1:
            tpot_seconds = decode_seconds / (output_tokens - 1)
            self.tpot.add(tpot_seconds)
            in_time = in_time and tpot_seconds <= self.tpot_objective_seconds
        self.attained += in_time
        if tenant is not None:
            self._attained[tenant] += in_time
