"""What a run comes to: counted as it goes, in constant memory."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

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

    @property
    def joules_per_token(self) -> float | None:
        """Energy of all boards, idle included, per output token."""
        if not self.output_tokens:
            return None
        return (self.dynamic_joules + self.idle_joules) / self.output_tokens

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

    def complete(
        self, *, prompt_tokens: int, output_tokens: int, ttft_seconds: float, decode_seconds: float
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
