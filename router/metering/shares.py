"""One replica's power, shared among the requests in flight on it. Pure.

A(t) = integral of P / max(n, 1) over busy time (DESIGN section 4). The energy of a request is
A(end) - A(start), one subtraction whatever happened in between, and the requests' joules sum to
the replica's busy joules because n requests take a share of 1/n each. Carbon, tokens and time are
shared by the same rule. What is not known is not integrated: its seconds are counted instead.
"""

from dataclasses import dataclass
from operator import add, sub
from typing import NamedTuple

from fleet.profile import PowerCurve


class Shares(NamedTuple):
    """Integrals over time, per request in flight; differences of two are a request's own.

    Attributes:
        seconds: In flight.
        replica_seconds: Of the whole replica's time: the integral of 1/n.
        joules: Energy, idle power included, as far as watts were known.
        dynamic_joules: The part above idle power.
        grams: gCO2e, as far as watts and intensity were known.
        tokens: Generated, as far as the engine's rate was known.
        measured_seconds: In flight while watts were measured.
        modelled_seconds: In flight while watts came from the profile.
        carbon_seconds: In flight while watts and intensity were known.
        token_seconds: In flight while the token rate was known.
    """

    seconds: float = 0.0
    replica_seconds: float = 0.0
    joules: float = 0.0
    dynamic_joules: float = 0.0
    grams: float = 0.0
    tokens: float = 0.0
    measured_seconds: float = 0.0
    modelled_seconds: float = 0.0
    carbon_seconds: float = 0.0
    token_seconds: float = 0.0

    def plus(self, end: "Shares", start: "Shares") -> "Shares":
        """This and what was added between two readings of one replica."""
        return Shares._make(map(add, self, map(sub, end, start)))


NO_SHARES = Shares()


@dataclass(slots=True, kw_only=True)
class BusyTotals:
    """Integrals over a backend's replicas while own requests were on them; they only grow.

    Attributes:
        busy_seconds: Replica time with own requests in flight.
        unknown_seconds: The part of it without known watts.
        busy_joules: Energy of the known part.
        foreign_joules: The part of busy_joules that is the share of other routers' requests.
        idle_joules: Energy while no own request was in flight.
    """

    busy_seconds: float = 0.0
    unknown_seconds: float = 0.0
    busy_joules: float = 0.0
    foreign_joules: float = 0.0
    idle_joules: float = 0.0

    @property
    def own_joules(self) -> float:
        """What the requests' joules must sum to."""
        return self.busy_joules - self.foreign_joules


class View(NamedTuple):
    """What is believed of a replica from now on, until another view.

    Attributes:
        watts: Measured, or None.
        watts_until_seconds: From when on the measurement no longer counts.
        curve: Gives watts where none are measured; None: they are unknown then.
        idle_watts: With nothing running, or None.
        foreign: Requests on it that are not ours.
        tokens_per_second: Generated, or None.
        tokens_until_seconds: From when on that no longer counts.
    """

    watts: float | None = None
    watts_until_seconds: float = 0.0
    curve: PowerCurve | None = None
    idle_watts: float | None = None
    foreign: float = 0.0
    tokens_per_second: float | None = None
    tokens_until_seconds: float = 0.0


_BLIND = View()


class ReplicaShares:
    """The integrals of one replica, brought up to date before anything about it changes.

    Attributes:
        own: Own requests in flight.
        totals: Of its backend; added to here.
        view: What is believed of it.
    """

    __slots__ = ("_at_seconds", "_sums", "own", "totals", "view")

    def __init__(self, totals: BusyTotals, *, now_seconds: float) -> None:
        """Start idle, with nothing known."""
        self.own = 0
        self.totals = totals
        self.view = _BLIND
        self._at_seconds = now_seconds
        self._sums = [0.0] * len(NO_SHARES)

    def read(self) -> Shares:
        """The integrals as of the last `advance`."""
        return Shares._make(self._sums)

    def enter(self) -> Shares:
        """One request more, from the last `advance` on; its start reading."""
        self.own += 1
        return self.read()

    def leave(self) -> Shares:
        """One request fewer; its end reading. Idle replicas start from 0: no digits wear off."""
        end = self.read()
        self.own -= 1
        if not self.own:
            self._sums = [0.0] * len(NO_SHARES)
        return end

    def advance(self, now_seconds: float, grams_per_joule: float | None) -> None:
        """Integrate up to now. A clock that steps back adds nothing until it has caught up.

        Args:
            now_seconds: Monotonic time.
            grams_per_joule: Carbon intensity since the last call, or None.
        """
        start_seconds, view = self._at_seconds, self.view
        if now_seconds <= start_seconds:
            return
        self._at_seconds = now_seconds
        cut_seconds = start_seconds
        if view.watts is not None and view.watts_until_seconds > start_seconds:
            cut_seconds = min(now_seconds, view.watts_until_seconds)
            self._add(cut_seconds - start_seconds, view.watts, grams_per_joule, measured=True)
        if cut_seconds < now_seconds:
            watts = None if view.curve is None else view.curve.decode_watts(self.own + view.foreign)
            self._add(now_seconds - cut_seconds, watts, grams_per_joule, measured=False)
        if self.own and view.tokens_per_second is not None:
            known_seconds = min(now_seconds, view.tokens_until_seconds) - start_seconds
            if known_seconds > 0.0:
                sums = self._sums
                sums[_TOKENS] += view.tokens_per_second * known_seconds / (self.own + view.foreign)
                sums[_TOKEN_SECONDS] += known_seconds

    def _add(
        self, seconds: float, watts: float | None, grams_per_joule: float | None, *, measured: bool
    ) -> None:
        """Integrate a stretch in which nothing changed."""
        own, view, totals = self.own, self.view, self.totals
        if not own:
            totals.idle_joules += seconds * watts if watts is not None else 0.0
            return
        sums = self._sums
        share_seconds = seconds / (own + view.foreign)
        totals.busy_seconds += seconds
        sums[_SECONDS] += seconds
        sums[_REPLICA_SECONDS] += share_seconds
        if watts is None:
            totals.unknown_seconds += seconds
            return
        joules = watts * share_seconds
        totals.busy_joules += watts * seconds
        totals.foreign_joules += joules * view.foreign
        sums[_JOULES] += joules
        sums[_DYNAMIC_JOULES] += joules - (view.idle_watts or 0.0) * share_seconds
        sums[_MEASURED_SECONDS if measured else _MODELLED_SECONDS] += seconds
        if grams_per_joule is not None:
            sums[_GRAMS] += joules * grams_per_joule
            sums[_CARBON_SECONDS] += seconds


(
    _SECONDS,
    _REPLICA_SECONDS,
    _JOULES,
    _DYNAMIC_JOULES,
    _GRAMS,
    _TOKENS,
    _MEASURED_SECONDS,
    _MODELLED_SECONDS,
    _CARBON_SECONDS,
    _TOKEN_SECONDS,
) = range(len(Shares._fields))
