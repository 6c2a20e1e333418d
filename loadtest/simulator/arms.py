"""The arms of a comparison by name: a policy, what it may know, and how wrong its prior is.

Names are all that travels to other processes and into reports; `simulation_arm` makes the rest.
"""

from dataclasses import dataclass, replace

from loadtest.simulator.controllers import CONTROLLERS, NO_CONTROL, WHAT
from loadtest.simulator.observation import TelemetryModel
from loadtest.simulator.rivals import RIVALS
from loadtest.simulator.world import Arm
from router.decide.policies import POLICIES
from router.decide.settings import DecideSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """An arm before it is run.

    Attributes:
        name: In reports and on the command line.
        policy: One of the router's policies or of the rivals.
        what: What sets it apart, for people.
        scrape_seconds: A telemetry interval of its own; None: the scenario's.
        knows_lengths: Told each answer's length beforehand.
        sees_truth: Shown the true state before every pick.
        prior_ratio: The prior's times and dynamic watts over those it should have.
        control: Name of the control loop beside it, see `loadtest.simulator.controllers`.
        workers: Router processes that requests are dealt to.
        shared_ledger: Whether these know of each other's requests.
    """

    name: str
    policy: str
    what: str
    scrape_seconds: float | None = None
    knows_lengths: bool = False
    sees_truth: bool = False
    prior_ratio: float = 1.0
    control: str = NO_CONTROL
    workers: int = 1
    shared_ledger: bool = True

    def simulation_arm(self, telemetry: TelemetryModel | None = None) -> Arm:
        """The arm as the simulation takes it.

        Args:
            telemetry: The scenario's; None takes the usual one.
        """
        usual = TelemetryModel() if telemetry is None else telemetry
        interval_seconds = self.scrape_seconds or usual.interval_seconds
        return Arm(
            name=self.name,
            settings=DecideSettings(policy=self.policy if self.policy in POLICIES else "dispatch"),
            policy=RIVALS[self.policy]() if self.policy in RIVALS else None,
            telemetry=TelemetryModel(
                interval_seconds=interval_seconds,
                # A pipeline that scrapes faster than it delivers would only pile up snapshots.
                delay_seconds=min(usual.delay_seconds, interval_seconds),
            ),
            knows_lengths=self.knows_lengths,
            sees_truth=self.sees_truth,
            controller=CONTROLLERS.get(self.control),
            workers=self.workers,
            shared_ledger=self.shared_ledger,
        )


def _naive(name: str, seconds: float) -> ArmPlan:
    return ArmPlan(
        name=name,
        policy="naive-tokens-per-watt",
        what=f"highest tokens/s per watt of the last scrape, every {seconds:g} s",
        scrape_seconds=seconds,
    )


_PLANS = (
    ArmPlan(name="dispatch", policy="dispatch", what="ours: commitment and merit order"),
    ArmPlan(name="merit-packing", policy="merit-packing", what="merit order without commitment"),
    ArmPlan(name="greedy-marginal", policy="greedy-marginal", what="least joules added right now"),
    ArmPlan(name="queue-kv", policy="queue-kv", what="endpoint picker's scorer: queue and free KV"),
    ArmPlan(
        name="queue-kv-prefix",
        policy="queue-kv-prefix",
        what="endpoint picker's scorer with its prefix part",
    ),
    ArmPlan(name="least-request", policy="least-request", what="fewest requests in flight"),
    ArmPlan(name="power-of-two", policy="power-of-two", what="the less loaded of two drawn"),
    ArmPlan(name="round-robin", policy="round-robin", what="each in turn"),
    ArmPlan(name="average-joules", policy="average-joules", what="table of average joules"),
    ArmPlan(name="two-pool", policy="two-pool", what="pools by context length"),
    ArmPlan(name="boundary-avoidance", policy="boundary-avoidance", what="avoids batch boundaries"),
    _naive("naive-5s", 5.0),
    _naive("naive-1s", 1.0),
    _naive("naive-0.2s", 0.2),
    _naive("naive-50ms", 0.05),
    ArmPlan(
        name="dispatch-oracle",
        policy="dispatch",
        what="told every answer length",
        knows_lengths=True,
    ),
    ArmPlan(
        name="dispatch-clairvoyant",
        policy="dispatch",
        what="told answer lengths and the true state",
        knows_lengths=True,
        sees_truth=True,
    ),
    ArmPlan(
        name="dispatch-prior-high",
        policy="dispatch",
        what="prior times and dynamic watts 30 % too high",
        prior_ratio=1.3,
    ),
    ArmPlan(
        name="dispatch-prior-low",
        policy="dispatch",
        what="prior times and dynamic watts 30 % too low",
        prior_ratio=0.7,
    ),
)

ARMS: dict[str, ArmPlan] = {plan.name: plan for plan in _PLANS}
"""Every arm without a control loop by name."""

WORKERS = range(2, 65)
"""How many router processes an arm may have beside one."""

_APART = "-apart"

OURS = "dispatch"
SCORER = "queue-kv"
LEAST_REQUEST = "least-request"


def with_control(arm: str, control: str) -> str:
    """The name of an arm beside a control loop."""
    return arm if control == NO_CONTROL else f"{arm}+{control}"


def with_workers(arm: str, workers: int, *, shared: bool) -> str:
    """The name of an arm of several router workers."""
    return f"{arm}@{workers}" if shared else f"{arm}@{workers}{_APART}"


def arm_plan(name: str) -> ArmPlan:
    """The arm of a name, which may name a control loop after a plus sign, and workers before it.

    "dispatch@4" are four router workers that share a ledger, "dispatch@4-apart" four that do not.

    Raises:
        KeyError: There is no such arm; a sentence without full stop.
    """
    decision, _, control = name.partition("+")
    policy, at, workers = decision.partition("@")
    if policy not in ARMS:
        raise KeyError(f"must be among {', '.join(ARMS)}, got {policy!r}")
    plan = _of_workers(ARMS[policy], workers) if at else ARMS[policy]
    if not control:
        return plan
    if control not in CONTROLLERS:
        raise KeyError(f"control must be among {', '.join(CONTROLLERS)}, got {control!r}")
    return replace(plan, name=name, what=f"{plan.what}; {WHAT[control]}", control=control)


def _of_workers(plan: ArmPlan, text: str) -> ArmPlan:
    workers = text.removesuffix(_APART)
    if plan.policy in RIVALS:
        raise KeyError(f"{plan.name} is not a policy of the router, so it has no workers")
    if not workers.isdecimal() or int(workers) not in WORKERS:
        raise KeyError(f"after the @ stand {WORKERS[0]} to {WORKERS[-1]} workers, got {text!r}")
    shared = workers == text
    return replace(
        plan,
        name=with_workers(plan.name, int(workers), shared=shared),
        what=f"{plan.what}; {workers} workers {'sharing a ledger' if shared else 'on their own'}",
        workers=int(workers),
        shared_ledger=shared,
    )
