"""What the demo found: one arm per policy, the comparison, and the JSON report. Pure.

Energy is the simulated boards' own exact account, not what telemetry read. An arm that packs its
load ends later than one that spreads it, so idle watts are charged to all arms over one common
window: from the first arrival to the end of the slowest arm. They are those of boards that are all
awake: what the capper's sleeping replicas save is told beside, so that the comparison is of
policies alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.demo.cap_account import CapAccount, uncapped
from headrace.demo.energy import EnergyAccount
from headrace.demo.power_windows import PowerWindow
from headrace.demo.totals import BackendTotals
from loadtest.outcome import Summary

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One policy under the arrivals.

    Attributes:
        policy: Its name.
        summary: Latency, failures and attainment as the client saw them.
        backends: Ground truth of the simulated boards, by backend.
        window_seconds: First arrival to last answer.
        pick_reasons: How often the router gave each reason.
        slipped_seconds: Time the simulation gave back because the machine lagged. When it is not
            near 0 the machine was too small for the load, and the figures are of a lighter one.
        energy: What the router metered, and the difference to the boards.
        windows: The fleet's watts, second by second.
        cap: The cap step, where there was one.
        saved_by_sleep_joules: Idle energy that sleeping replicas did not take; not in `joules`.
    """

    policy: str
    summary: Summary
    backends: Mapping[str, BackendTotals]
    window_seconds: float
    pick_reasons: Mapping[str, int]
    slipped_seconds: float = 0.0
    energy: EnergyAccount | None = None
    windows: tuple[PowerWindow, ...] = ()
    cap: CapAccount | None = None
    saved_by_sleep_joules: float = 0.0

    @property
    def output_tokens(self) -> int:
        """Tokens generated, also those of answers that nobody waited for."""
        return sum(totals.output_tokens for totals in self.backends.values())

    @property
    def dynamic_joules(self) -> float:
        """Energy above idle."""
        return sum(totals.dynamic_joules for totals in self.backends.values())

    @property
    def idle_watts(self) -> float:
        """Power of the whole fleet with nothing running and all awake."""
        return sum(totals.idle_watts for totals in self.backends.values())

    def joules(self, *, window_seconds: float) -> float:
        """Energy of the whole fleet over a window that holds the arm."""
        return self.dynamic_joules + self.idle_watts * window_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What was replayed, so that it can be replayed again.

    Attributes:
        source: "azure-like generator" or the trace's file name.
        sha256: Of the arrivals as replayed.
        requests: How many.
        requests_per_second: Their mean rate.
        seed: Of the generator.
        telemetry: Which sources the router had.
        no_cap_step_because: Why there is none; None: there is one.
    """

    source: str
    sha256: str
    requests: int
    requests_per_second: float | None
    seed: int
    telemetry: str
    no_cap_step_because: str | None = None


def common_window_seconds(arms: Sequence[Arm]) -> float:
    """The longest arm's window."""
    return max(arm.window_seconds for arm in arms)


def joules_per_token(arm: Arm, *, window_seconds: float) -> float | None:
    """Fleet energy over the window per output token; None when nothing was generated."""
    return (
        arm.joules(window_seconds=window_seconds) / arm.output_tokens if arm.output_tokens else None
    )


def report(arms: Sequence[Arm], inputs: Inputs) -> dict[str, Any]:
    """The JSON report: every figure of every arm, and the first against the last."""
    window_seconds = common_window_seconds(arms)
    return {
        "schema": SCHEMA,
        "what": "headrace demo: simulated replicas behind real Envoy and the real router",
        "simulated": ["step times", "power and energy", "answers", "sleep and wake-up"],
        "measured": ["latencies, through Envoy and the router", "failures", "picks"],
        "inputs": _inputs(inputs),
        "window_seconds": window_seconds,
        "arms": [_arm(arm, window_seconds) for arm in arms],
        "comparison": comparison(arms[0], arms[-1], window_seconds=window_seconds),
        "cap_step": cap_step(arms, inputs),
    }


def cap_step(arms: Sequence[Arm], inputs: Inputs) -> dict[str, Any]:
    """The first arm's cap step, and the last arm's watts over the same seconds without a cap."""
    ours, theirs = arms[0], arms[-1]
    if ours.cap is None:
        return {"happened": False, "because": inputs.no_cap_step_because}
    rival = None
    if theirs is not ours:
        rival = {"policy": theirs.policy, **uncapped(ours.cap, theirs.windows)}
    return {
        **ours.cap.to_dict(),
        "saved_by_sleep_joules": ours.saved_by_sleep_joules,
        "without_a_cap": rival,
    }


def _inputs(inputs: Inputs) -> dict[str, Any]:
    told = asdict(inputs)
    told.pop("no_cap_step_because")
    return told


def comparison(ours: Arm, theirs: Arm, *, window_seconds: float) -> dict[str, Any] | None:
    """The first arm relative to the last; None when there is only one, or a side has no tokens."""
    our_joules = joules_per_token(ours, window_seconds=window_seconds)
    their_joules = joules_per_token(theirs, window_seconds=window_seconds)
    if ours is theirs or our_joules is None or their_joules is None:
        return None
    return {
        "policy": ours.policy,
        "against": theirs.policy,
        "simulated_energy_joules_per_token_ratio": our_joules / their_joules,
        "simulated_dynamic_joules_ratio": ours.dynamic_joules / theirs.dynamic_joules,
        "attainment_ratio_difference": _difference(
            ours.summary.attainment_ratio, theirs.summary.attainment_ratio
        ),
        "failed_requests": ours.summary.failed + theirs.summary.failed,
    }


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _arm(arm: Arm, window_seconds: float) -> dict[str, Any]:
    requests = sum(totals.requests for totals in arm.backends.values())
    return {
        "policy": arm.policy,
        "simulated_energy_joules_per_token": joules_per_token(arm, window_seconds=window_seconds),
        "simulated_energy_joules": arm.joules(window_seconds=window_seconds),
        "simulated_dynamic_joules": arm.dynamic_joules,
        "simulated_idle_watts": arm.idle_watts,
        "output_tokens": arm.output_tokens,
        "own_window_seconds": arm.window_seconds,
        "slipped_seconds": arm.slipped_seconds,
        "pick_reasons": dict(arm.pick_reasons),
        "metering": None if arm.energy is None else arm.energy.to_dict(),
        "backends": {
            name: asdict(totals)
            | {"share_of_picks_ratio": totals.requests / requests if requests else None}
            for name, totals in arm.backends.items()
        },
        "client": arm.summary.to_dict(),
    }
