"""The capper in the simulator: `capper.decide.loop.decide` itself, once a control period.

It sees what its sensors and the router tell, decides, and its orders are carried out as a cluster
would: clocks of all boards of a backend, bounds that an autoscaler follows by stopping and starting
replicas, prices and brakes on the board that the router reads. An order counts as applied when it
was accepted; what it does comes after the actuator's own delay.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from capper.decide.board import price_board
from capper.decide.loop import decide
from capper.decide.memory import applied
from capper.decide.plan import (
    Plan,
    ReleaseClock,
    ReleasePowerLimit,
    RestoreMaxReplicas,
    SetClock,
    SetMaxReplicas,
    SetPowerLimit,
)
from capper.decide.policy import (
    ROOT,
    DomainPolicy,
    LimitRange,
    Mode,
    NamedCap,
    Policy,
    Rung,
    TargetKind,
    TargetPolicy,
)
from capper.decide.state import State
from capper.decide.tuning import Brakes, Clocks, Pacing, Prices
from fleet.profile import Profile
from loadtest.gpu_sensor import keyed_uniform
from loadtest.simulator.capper_orders import lock, phase_clocks, scale
from loadtest.simulator.capper_view import Watcher, by_backend, ref_of
from loadtest.simulator.control import Action, ControlView, ReplicaView, SetPrices

LADDER = frozenset(Rung)
# What pods take minutes for, sleeping engines do in seconds: the waits of bounds follow from that.
_SLEEP_PACING = Pacing(
    shed_interval_seconds=6.0,
    shed_replicas=3,
    grow_interval_seconds=20.0,
    escalate_after_seconds=0.0,
    settle_seconds=5.0,
    dwell_seconds=60.0,
)
# A share of prompts that chat has at load; the curve that is told decides how deep a cut must be.
_PROMPT_RATIO = 0.3
# Prices and brakes are void when so many turns in a row were missed.
_BOARD_TURNS = 6.0
_EARLY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class CapperSettings:
    """How the loop is set up.

    Attributes:
        rungs: What it may use.
        keeps_replicas: The bounds only ever stop growth, as in the original 80/95 rule.
        sleeps: Bounds are followed by engines that sleep and wake, in seconds; else by pods that
            end and start, in minutes.
        period_seconds: Between two decisions; 0: at every turn of the simulation's control. Samples
            are taken at every turn, as by a Prometheus beside it.
        pacing: Of replica bounds.
        clocks: Of the clock rung.
        prices: Of the price rung.
        brakes: Of the last rung.
    """

    rungs: frozenset[Rung] = LADDER
    keeps_replicas: bool = False
    sleeps: bool = False
    period_seconds: float = 0.0
    pacing: Pacing = field(default_factory=Pacing)
    clocks: Clocks = field(
        default_factory=lambda: Clocks(settle_seconds=6.0, ramp_up_seconds=15.0, min_hertz=0.0)
    )
    prices: Prices = field(default_factory=Prices)
    brakes: Brakes = field(default_factory=Brakes)


class CapperLoop:
    """One run of the capper.

    Attributes:
        state: What it remembers.
        plan: The newest one.
    """

    def __init__(self, settings: CapperSettings | None = None) -> None:
        """Nothing seen yet."""
        self._settings = settings or CapperSettings()
        self._watcher = Watcher()
        self._bounds: dict[str, int] = {}
        self._profiles: dict[str, Profile] = {}
        self._last_seconds: float | None = None
        self.state = State()
        self.plan: Plan | None = None

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn."""
        return list(self._turn(view, ()))

    def turn(self, view: ControlView, caps: Iterable[NamedCap]) -> list[Action]:
        """The same under further caps of the fleet."""
        return list(self._turn(view, tuple(caps)))

    def _turn(self, view: ControlView, caps: tuple[NamedCap, ...]) -> Iterator[Action]:
        backends = by_backend(view.replicas)
        for backend, members in backends.items():
            self._bounds.setdefault(backend, len(members))
        self._learn_profiles(view)
        policy = self._policy(view, backends, caps)
        observation = self._watcher.observe(view, self._bounds)
        now_seconds = view.now_seconds
        last_seconds, period_seconds = self._last_seconds, self._settings.period_seconds
        if last_seconds is not None and now_seconds - last_seconds < period_seconds - _EARLY:
            return
        self.plan = plan = decide(
            policy,
            observation,
            self.state,
            now_seconds=now_seconds,
            draws={ref_of(name): keyed_uniform(f"{name}/{now_seconds}") for name in backends},
        )
        self.state = plan.state
        for action in plan.actions:
            self.state = applied(self.state, action, now_seconds=now_seconds, pacing=policy.pacing)
        yield from self._clock_orders(plan, backends)
        self._take_bounds(plan, backends)
        yield from scale(view, self._bounds, sleeps=self._settings.sleeps)
        yield self._board(policy, now_seconds)

    def _clock_orders(
        self, plan: Plan, backends: Mapping[str, list[ReplicaView]]
    ) -> Iterator[Action]:
        """What is in force after the plan, for every backend whose clocks or limits it changes."""
        set_anew = {
            action.target
            for action in plan.actions
            if isinstance(action, SetClock | ReleaseClock | SetPowerLimit | ReleasePowerLimit)
        }
        for name, members in backends.items():
            if ref_of(name) in set_anew:
                held = self.state.targets[ref_of(name)]
                yield from lock(
                    members,
                    held.clock_hertz,
                    self._profiles.get(name),
                    limit_watts=held.limit_watts,
                )

    def _take_bounds(self, plan: Plan, backends: Mapping[str, list[ReplicaView]]) -> None:
        by_ref = {ref_of(name): name for name in backends}
        for action in plan.actions:
            if isinstance(action, SetMaxReplicas):
                self._bounds[by_ref[action.target]] = action.replicas
            elif isinstance(action, RestoreMaxReplicas):
                name = by_ref[action.target]
                whole = len(backends[name])
                self._bounds[name] = whole if action.replicas is None else action.replicas

    def _learn_profiles(self, view: ControlView) -> None:
        """The profiles at full clock are those of the first snapshot: nothing was locked then."""
        if not self._profiles and view.snapshot is not None:
            self._profiles = {one.name: one.profile for one in view.snapshot.fleet.backends}

    def _board(self, policy: Policy, now_seconds: float) -> Action:
        period_seconds = 1.0
        if self._last_seconds is not None:
            period_seconds = now_seconds - self._last_seconds
        self._last_seconds = now_seconds
        expires_seconds = now_seconds + _BOARD_TURNS * period_seconds
        return SetPrices(price_board([(policy, self.state)], expires_seconds=expires_seconds))

    def _policy(
        self,
        view: ControlView,
        backends: Mapping[str, list[ReplicaView]],
        caps: tuple[NamedCap, ...],
    ) -> Policy:
        settings = self._settings
        return Policy(
            name="simulated/capper",
            mode=Mode.ENFORCE,
            rungs=settings.rungs,
            domains=_domains(view, caps),
            targets=tuple(self._target(name, members) for name, members in backends.items()),
            pacing=settings.pacing,
            clocks=settings.clocks,
            prices=settings.prices,
            brakes=settings.brakes,
        )

    def _target(self, backend: str, members: list[ReplicaView]) -> TargetPolicy:
        bound = self._bounds[backend]
        return TargetPolicy(
            ref=ref_of(backend),
            kind=TargetKind.LOCAL,
            backend=backend,
            priority=1,
            min_replicas=bound if self._settings.keeps_replicas else 0,
            clocks=phase_clocks(members[0]).mixed(_PROMPT_RATIO),
            limit_range=LimitRange(members[0].lowest_limit_watts, members[0].full_watts),
        )


def _domains(view: ControlView, caps: tuple[NamedCap, ...]) -> tuple[DomainPolicy, ...]:
    declared = (
        () if view.cap_watts is None else (NamedCap(source="powerCapLimit", watts=view.cap_watts),)
    )
    racks = (
        DomainPolicy(
            name=rack.name,
            parent=ROOT,
            caps=()
            if rack.cap_watts is None
            else (NamedCap(source="maxPower", watts=rack.cap_watts),),
            max_inlet_celsius=None if view.room is None else view.room.redline_celsius,
        )
        for rack in view.racks
    )
    return (DomainPolicy(name=ROOT, caps=(*declared, *caps)), *racks)


def original_rule(period_seconds: float = 0.0) -> CapperLoop:
    """80 % and 95 % on replica bounds and nothing else: growth stops, nothing is taken."""
    return CapperLoop(
        CapperSettings(
            rungs=frozenset({Rung.REPLICAS}), keeps_replicas=True, period_seconds=period_seconds
        )
    )


def sleeping_ladder(period_seconds: float = 0.0) -> CapperLoop:
    """The whole ladder over engines that sleep."""
    return CapperLoop(
        CapperSettings(sleeps=True, pacing=_SLEEP_PACING, period_seconds=period_seconds)
    )


def with_rungs(*rungs: Rung) -> CapperLoop:
    """A loop that may use only these."""
    return CapperLoop(CapperSettings(rungs=frozenset(rungs)))


def oversubscribed(*, in_band: bool) -> CapperLoop:
    """POLCA's rules: clocks at the upper threshold, and a brake as soon as the cap is exceeded.

    Args:
        in_band: Clocks are set by an agent on the host, in a fraction of a second; else through the
            board controller, in 40 s.
    """
    told = CapperSettings().clocks if in_band else Clocks(min_hertz=0.0)
    return CapperLoop(
        CapperSettings(
            rungs=frozenset({Rung.CLOCKS, Rung.BRAKE}),
            clocks=told,
            brakes=Brakes(ratio=1.0, after_seconds=2.0, hold_seconds=10.0),
        )
    )
