"""The router's mind: one object that is told what happens and answers what to do.

It does no I/O and reads no clock: the shell tells it of snapshots, of seconds that pass and of
requests that start and end. Production and the simulator run this same object. It is not thread
safe and needs not be: `pick` decides and records without giving way in between, so two requests
never both see the same free slot.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile

import msgspec

from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from router.decide import rejections
from router.decide.affinity import Affinity
from router.decide.commitment import Commitment
from router.decide.commitments import Commitments
from router.decide.demand import Demand
from router.decide.expectation import demand_of
from router.decide.explain import Explanation, explain
from router.decide.fallbacks import Fallbacks
from router.decide.foreign_load import ForeignLoad
from router.decide.guard import send_prompt
from router.decide.intake import Intake
from router.decide.learning import Learner
from router.decide.ledger import Ledger, Ticket
from router.decide.outcome import Pick, PickReason, Rejection
from router.decide.outliers import Outliers
from router.decide.peers import Peers
from router.decide.policies import POLICIES, Choice, Policy
from router.decide.question import Question
from router.decide.request_facts import RequestFacts, RequestHints
from router.decide.request_joules import marginal_joules
from router.decide.room import all_full
from router.decide.roster import Roster
from router.decide.settings import DecideSettings
from router.decide.stalls import Stalls
from router.decide.unit import Unit
from router.decide.workload import Workload


class Picker:
    """Decides where each request goes, and keeps the ledger of those that are in flight.

    Attributes:
        ledger: Own requests in flight.
        workload: Estimates of each model's traffic.
        learner: Gains that correct the prior profiles.
        outliers: Replicas that the data plane skipped lately.
        stalls: Replicas that take requests and end none.
        affinity: Where prompts, sessions and adapters are.
        known_models: Models that are not unknown though they may have no replica now; the shell's.
        peers: The pickers of processes beside this one, or None.
    """

    def __init__(
        self, fleet: Fleet, settings: DecideSettings, *, policy: Policy | None = None
    ) -> None:
        """Start with a topology and nothing observed.

        Args:
            fleet: The topology.
            settings: Of the decision.
            policy: A rule of the caller's own, in place of the one that `settings` names.

        Raises:
            KeyError: When `settings.policy` is not one of router.decide.policies.POLICIES.
        """
        self._settings = settings
        self._policy = POLICIES[settings.policy] if policy is None else policy
        self._sequence: dict[str, int] = {}
        self._commitments = Commitments(settings)
        self._observed = 0
        self.ledger = Ledger()
        self._roster = Roster(settings, self.ledger)
        self.workload = Workload(settings)
        self.learner = Learner()
        self.outliers = Outliers()
        self.stalls = Stalls(settings)
        self.affinity = Affinity(settings)
        self._others = ForeignLoad()
        self.known_models: frozenset[str] = frozenset()
        self.peers: Peers | None = None
        self._fallbacks = Fallbacks(settings.max_endpoints - 1)
        self._intake = Intake(
            settings,
            roster=self._roster,
            stalls=self.stalls,
            workload=self.workload,
            learner=self.learner,
            affinity=self.affinity,
            others=self._others,
            fallbacks=self._fallbacks,
        )
        self._adopt(fleet)

    # What the shell tells

    def observe(self, snapshot: FleetSnapshot, prices: PriceBoard, *, now_seconds: float) -> None:
        """Take in a published snapshot: corrected loads, prices, counters, operating points."""
        for _ in self.observing(snapshot, prices, now_seconds=now_seconds):
            pass

    def observing(
        self, snapshot: FleetSnapshot, prices: PriceBoard, *, now_seconds: float
    ) -> Iterator[None]:
        """The same in short steps, between which requests may be picked and settled.

        A new topology holds from the first step on. In between some replicas have their new
        readings and others the old ones, as if two scrapes had come one after the other. One that
        another snapshot overtakes ends early.
        """
        self._catch_up(now_seconds)
        if snapshot.fleet is not self._roster.fleet:
            self._adopt(snapshot.fleet)
        self._observed += 1
        turn = self._observed
        for _ in self._intake.steps(snapshot, prices, now_seconds=now_seconds):
            yield
            if self._observed != turn:
                return

    def commit(self, *, now_seconds: float) -> None:
        """Choose anew which replicas are to carry each model's load; about once a second.

        Where a peer does that for all, its sets are in force already.
        """
        for _ in self.committing(now_seconds=now_seconds):
            pass

    def committing(self, *, now_seconds: float) -> Iterator[None]:
        """The same in steps, one for each model; a new topology ends it early."""
        self._catch_up(now_seconds)
        if self.peers is not None and self.peers.is_led(now_seconds=now_seconds):
            return
        pools = self._roster.pools
        for _ in self._commitments.choosing(
            pools, self.workload, self._others, now_seconds=now_seconds
        ):
            yield
            if self._roster.pools is not pools:
                return
        if self.peers is not None:
            self.peers.committed(self._commitments.by_model, now_seconds=now_seconds)

    def pick(self, facts: RequestFacts, *, now_seconds: float, draw: float) -> Pick | Rejection:
        """Choose a replica and enter the request in the ledger, or refuse.

        Args:
            facts: The request.
            now_seconds: Monotonic time.
            draw: Uniform in [0, 1), for the policies that want one.
        """
        question = self.question(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(question, Rejection):
            return question
        choice = self._policy(question)
        if self.stalls.finds(choice.unit.address, now_seconds=now_seconds):
            return self.pick(facts, now_seconds=now_seconds, draw=draw)
        full = self._settings.hold_when_full and all_full(question)
        if question.demand.sheddable and (full or choice.reason is PickReason.LEAST_LATE):
            return self._shed(question)
        if full:
            return rejections.full(self._settings.retry_after_seconds)
        self._sequence[facts.model] = question.sequence + 1
        return self._record(facts, choice, question)

    def pass_on(
        self, hints: RequestHints, *, now_seconds: float, draw: float
    ) -> tuple[str, ...] | Rejection:
        """Endpoints for a request without a prompt, least loaded first; records nothing."""
        self._roster.follow()
        everybody, subset = self._roster.everybody(), hints.subset
        admitted = everybody.healthy() if subset is None else everybody.inside(subset)
        if not admitted:
            return rejections.no_replica(None, self._settings.retry_after_seconds)
        return everybody.ranking().in_turn(
            admitted[int(draw * len(admitted))],
            None if subset is None else admitted,
            avoided=self.outliers.avoided(now_seconds=now_seconds),
            count=self._settings.max_endpoints,
        )

    def serve(self, pick: Pick, address: str, *, now_seconds: float) -> None:
        """The data plane says who serves a pick: endpoints before that one were skipped."""
        self._catch_up(now_seconds)
        skipped: tuple[str, ...] = ()
        if address != pick.address:
            skipped = tuple(takewhile(lambda endpoint: endpoint != address, pick.endpoints))
        changed = self.repeat_serve(pick.ticket, address, skipped, now_seconds=now_seconds)
        if changed and self.peers is not None:
            self.peers.served(pick.ticket, address, skipped, now_seconds=now_seconds)

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request, however it ended; False when it was settled before."""
        self._catch_up(now_seconds)
        self.stalls.settle(ticket, now_seconds=now_seconds)
        settled = self.ledger.settle(ticket, now_seconds=now_seconds)
        if settled and self.peers is not None:
            self.peers.settled(ticket, now_seconds=now_seconds)
        return settled

    # What the peers tell

    def repeat(
        self, address: str, facts: RequestFacts, demand: Demand, *, now_seconds: float
    ) -> Ticket:
        """Another picker has picked `address`: all that the pick changed there changes here too.

        Where the topology here has not got that replica or model, the ledger alone is told.
        """
        unit = self._roster.units.get(address)
        if unit is None or facts.model not in self._roster.pools:
            return self.hold(address, demand, since_seconds=now_seconds)
        self._sequence[facts.model] = self._sequence.get(facts.model, 0) + 1
        return self._enter(unit, facts, demand, now_seconds=now_seconds)

    def hold(self, address: str, demand: Demand, *, since_seconds: float) -> Ticket:
        """Another picker's request has run there since; what its pick changed is past."""
        ticket = self.ledger.enter(
            address,
            resident_tokens=demand.resident_tokens,
            prefill_seconds=0.0,
            now_seconds=since_seconds,
        )
        unit = self._roster.units.get(address)
        if unit is not None:
            self.stalls.enter(ticket, demand, unit, now_seconds=since_seconds)
        return ticket

    def follow(self, model: str, commitment: Commitment) -> None:
        """A peer has chosen this set for all."""
        pool = self._roster.pools.get(model)
        if pool is not None:
            known = commitment.addresses & self._roster.units.keys()
            self._commitments.follow(pool, replace(commitment, addresses=known))

    def repeat_serve(
        self, ticket: Ticket, address: str, skipped: tuple[str, ...], *, now_seconds: float
    ) -> bool:
        """Hold skips against who was skipped, and the request for `address`; whether it changed."""
        changed = self.outliers.served(address)
        for endpoint in skipped:
            if endpoint in self._roster.units:
                self.outliers.skipped(endpoint, now_seconds=now_seconds)
                changed = True
        if address not in self._roster.units:
            return changed
        before = ticket.address
        moved = self.ledger.move(ticket, address, now_seconds=now_seconds)
        self.stalls.move(ticket, before, now_seconds=now_seconds)
        return changed or moved

    def repeat_settle(self, ticket: Ticket, *, now_seconds: float) -> None:
        """Another picker's request has ended."""
        self.stalls.settle(ticket, now_seconds=now_seconds)
        self.ledger.settle(ticket, now_seconds=now_seconds)

    # What the shell asks

    def requests_per_second(self, model: str) -> float:
        """What the model's healthy replicas carry at their operating points."""
        pool = self._roster.pools.get(model)
        return 0.0 if pool is None else pool.requests_per_second()

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        return tuple(sorted(self._roster.pools))

    def commitments(self) -> dict[str, Commitment]:
        """The set in force for each model, with its reasons."""
        return dict(self._commitments.by_model)

    def units(self) -> tuple[Unit, ...]:
        """All units, in declaration order."""
        return tuple(self._roster.units.values())

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why not elsewhere; records nothing."""
        question = self.question(facts, now_seconds=now_seconds, draw=0.5)
        if isinstance(question, Rejection):
            return question
        return explain(question, self._policy(question), policy=self._settings.policy)

    # Inside

    def _adopt(self, fleet: Fleet) -> None:
        self._roster.adopt(fleet, self.learner)
        addresses = frozenset(self._roster.units)
        self.outliers.keep_only(addresses)
        self.stalls.keep_only(addresses)
        self.affinity.keep_only(addresses, fleet.models())
        self._others.keep_only(fleet.models())
        self._commitments.keep_only(fleet.models())
        for model in set(self._sequence) - set(fleet.models()):
            del self._sequence[model]
        for model, pool in self._roster.pools.items():
            pool.committed = self._commitments.of(model).addresses
        for _ in self._intake.regroup(now_seconds=0.0):
            pass

    def question(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Question | Rejection:
        """The candidates of a request, or why there are none; records nothing."""
        self._catch_up(now_seconds)
        pool = self._roster.pools.get(facts.model)
        retry_after_seconds = self._settings.retry_after_seconds
        if pool is None and facts.model in self.known_models:
            return rejections.no_replica(facts.model, retry_after_seconds)
        if pool is None:
            return rejections.model_not_found(facts.model)
        self._roster.follow()
        demand, eligible = pool.admit(self.demand(facts, now_seconds))
        if not eligible:
            if demand.refused and pool.eligible(
                msgspec.structs.replace(demand, refused=frozenset())
            ):
                return rejections.refused_by_domain(retry_after_seconds)
            return rejections.no_replica(facts.model, retry_after_seconds)
        return Question(
            pool,
            eligible,
            pool.few(demand, eligible),
            self.affinity.meet(facts, self._roster.units, demand, now_seconds=now_seconds),
            self._settings.kv_limit_ratio,
            now_seconds,
            draw,
            self._sequence.get(facts.model, 0),
        )

    def demand(self, facts: RequestFacts, now_seconds: float) -> Demand:
        """The request in numbers, as the model's traffic makes expect."""
        return demand_of(
            facts,
            self.workload.of(facts.model).present(now_seconds),
            self.outliers.avoided(now_seconds=now_seconds),
            self._roster.refused(sheddable=facts.hints.priority < 0, now_seconds=now_seconds),
            self.stalls.addresses,
        )

    def _record(self, facts: RequestFacts, choice: Choice, question: Question) -> Pick:
        unit, demand, now_seconds = choice.unit, question.demand, question.now_seconds
        joules, session = marginal_joules(unit, demand) / unit.price_ratio, None
        if facts.hints.session is not None:
            session = self.affinity.judge(demand, unit, question.home(), question.lateness)
        counterfactual = question.counterfactual(unit, joules)
        ticket = self._enter(unit, facts, demand, now_seconds=now_seconds)
        if self.peers is not None:
            self.peers.entered(ticket, facts, demand, now_seconds=now_seconds)
        fallbacks = self._fallbacks.of(unit, question)
        return Pick(
            unit.address,
            choice.reason,
            ticket,
            joules,
            counterfactual,
            fallbacks,
            None,
            len(question.eligible),
            None,
            0.0 if demand.near is None else demand.near.at(unit.address).cached_tokens,
            session,
        )

    def _enter(
        self, unit: Unit, facts: RequestFacts, demand: Demand, *, now_seconds: float
    ) -> Ticket:
        """All that a request on `unit` changes, whoever chose the unit."""
        prefill_seconds = send_prompt(unit, demand, now_seconds=now_seconds)
        ticket = self.ledger.enter(
            unit.address,
            resident_tokens=demand.resident_tokens,
            prefill_seconds=unit.fleet_ratio * prefill_seconds,
            now_seconds=now_seconds,
        )
        self.stalls.enter(ticket, demand, unit, now_seconds=now_seconds)
        self.workload.of(facts.model).arrive(
            facts, prompt_tokens=demand.prompt_tokens, now_seconds=now_seconds
        )
        self.affinity.sent(unit.address, facts, demand, now_seconds=now_seconds)
        return ticket

    def _catch_up(self, now_seconds: float) -> None:
        if self.peers is not None:
            self.peers.catch_up(now_seconds=now_seconds)

    def _shed(self, question: Question) -> Rejection:
        """Refuse; the prompts already queued on the least late replica say when to come back."""
        free_seconds = question.least_late().account.prefill_free_seconds - question.now_seconds
        return rejections.shed(max(1.0, free_seconds))
