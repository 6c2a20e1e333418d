"""The router's mind: one object that is told what happens and answers what to do.

It does no I/O and reads no clock: the shell tells it of snapshots, of seconds that pass and of
requests that start and end. Production and the simulator run this same object. It is not thread
safe and needs not be: `pick` decides and records without giving way in between, so two requests
never both see the same free slot.
"""

from fleet.physics import Mix
from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from router.decide import rejections
from router.decide.affinity import Affinity
from router.decide.commitment import Commitment
from router.decide.commitments import Commitments
from router.decide.demand import Demand, admits
from router.decide.explain import Explanation, explain
from router.decide.fallbacks import Fallbacks
from router.decide.foreign_load import ForeignLoad
from router.decide.guard import prefill_seconds, send_prompt
from router.decide.learning import Learner
from router.decide.ledger import Ledger, Ticket
from router.decide.outcome import Counterfactual, Pick, PickReason, Rejection
from router.decide.outliers import Outliers
from router.decide.policies import POLICIES, Choice, Policy, least_request
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
        self.ledger = Ledger()
        self._roster = Roster(settings, self.ledger)
        self.workload = Workload(settings)
        self.learner = Learner()
        self.outliers = Outliers()
        self.stalls = Stalls(settings)
        self.affinity = Affinity(settings)
        self._others = ForeignLoad()
        self.known_models: frozenset[str] = frozenset()
        self._fallbacks = Fallbacks(settings.max_endpoints - 1)
        self._adopt(fleet)

    # What the shell tells

    def observe(self, snapshot: FleetSnapshot, prices: PriceBoard, *, now_seconds: float) -> None:
        """Take in a published snapshot: corrected loads, prices, counters, operating points."""
        if snapshot.fleet is not self._roster.fleet:
            self._adopt(snapshot.fleet)
        self.stalls.observe(snapshot, now_seconds=now_seconds)
        self.workload.observe(snapshot, now_seconds=now_seconds)
        self.learner.observe(snapshot, self._settings.freshness, now_seconds=now_seconds)
        mixes = self._mixes(now_seconds=now_seconds)
        self._roster.observe(snapshot, prices, self.learner, mixes, now_seconds=now_seconds)
        self.affinity.observe(
            snapshot, self.units(), self._settings.freshness, now_seconds=now_seconds
        )
        self._others.observe(self._roster.pools.values(), now_seconds=now_seconds)
        self._regroup(mixes)

    def commit(self, *, now_seconds: float) -> None:
        """Choose anew which replicas are to carry each model's load; about once a second."""
        self._commitments.choose(
            self._roster.pools, self.workload, self._others, now_seconds=now_seconds
        )

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
        avoided = self.outliers.avoided(now_seconds=now_seconds)
        admitted = [
            unit
            for unit in self._roster.units.values()
            if unit.healthy and admits(hints.subset, unit.address)
        ]
        if not admitted:
            return rejections.no_replica(None, self._settings.retry_after_seconds)
        start = int(draw * len(admitted))
        turned = admitted[start:] + admitted[:start]
        turned.sort(key=lambda unit: (unit.address in avoided, unit.running))
        return tuple(unit.address for unit in turned[: self._settings.max_endpoints])

    def serve(self, pick: Pick, address: str, *, now_seconds: float) -> None:
        """The data plane says who serves a pick: endpoints before that one were skipped."""
        for endpoint in pick.endpoints:
            if endpoint == address:
                self.outliers.served(address)
                break
            if endpoint in self._roster.units:
                self.outliers.skipped(endpoint, now_seconds=now_seconds)
        if address in self._roster.units:
            before = pick.ticket.address
            self.ledger.move(pick.ticket, address, now_seconds=now_seconds)
            self.stalls.move(pick.ticket, before, now_seconds=now_seconds)

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request, however it ended; False when it was settled before."""
        self.stalls.settle(ticket, now_seconds=now_seconds)
        return self.ledger.settle(ticket, now_seconds=now_seconds)

    # What the shell asks

    def requests_per_second(self, model: str) -> float:
        """What the model's healthy replicas carry at their operating points."""
        pool = self._roster.pools.get(model)
        groups = () if pool is None else pool.groups
        return sum(len(it.units) * it.capacity_requests_per_second for it in groups)

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
        self._regroup(self._mixes(now_seconds=0.0))

    def _mixes(self, *, now_seconds: float) -> dict[str, Mix]:
        """The present mean request of every served model."""
        return {
            model: self.workload.of(model).mix(now_seconds=now_seconds)
            for model in self._roster.pools
        }

    def _regroup(self, mixes: dict[str, Mix]) -> None:
        self._fallbacks.forget()
        self._roster.regroup(mixes, self.stalls.spare)

    def question(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Question | Rejection:
        """The candidates of a request, or why there are none; records nothing."""
        pool = self._roster.pools.get(facts.model)
        retry_after_seconds = self._settings.retry_after_seconds
        if pool is None and facts.model in self.known_models:
            return rejections.no_replica(facts.model, retry_after_seconds)
        if pool is None:
            return rejections.model_not_found(facts.model)
        self._roster.follow()
        demand, eligible = pool.admit(self.demand(facts, now_seconds))
        if not eligible:
            if demand.refused and pool.eligible(demand._replace(refused=frozenset())):
                return rejections.refused_by_domain(retry_after_seconds)
            return rejections.no_replica(facts.model, retry_after_seconds)
        return Question(
            pool=pool,
            eligible=eligible,
            demand=self.affinity.meet(facts, self._roster.units, demand, now_seconds=now_seconds),
            kv_limit_ratio=self._settings.kv_limit_ratio,
            now_seconds=now_seconds,
            draw=draw,
            sequence=self._sequence.get(facts.model, 0),
        )

    def demand(self, facts: RequestFacts, now_seconds: float) -> Demand:
        """The request in numbers, as the model's traffic makes expect."""
        workload = self.workload.of(facts.model)
        prompt_tokens = (
            float(facts.prompt_tokens)
            if facts.prompt_tokens is not None
            else facts.prompt_bytes / workload.bytes_per_token(now_seconds=now_seconds)
        )
        return Demand(
            model=facts.model,
            prompt_tokens=prompt_tokens,
            output_tokens=workload.expected_output_tokens(facts, now_seconds=now_seconds),
            mix=workload.mix(now_seconds=now_seconds),
            ttft_objective_seconds=facts.hints.ttft_seconds,
            tpot_objective_seconds=facts.hints.tpot_seconds,
            sheddable=facts.hints.priority < 0,
            subset=facts.hints.subset,
            refused=self._roster.refused(
                sheddable=facts.hints.priority < 0, now_seconds=now_seconds
            ),
            avoided=self.outliers.avoided(now_seconds=now_seconds),
            stalled=self.stalls.addresses,
            prefix_block_hashes=facts.prefix_block_hashes,
        )

    def _record(self, facts: RequestFacts, choice: Choice, question: Question) -> Pick:
        unit, demand, now_seconds = choice.unit, question.demand, question.now_seconds
        joules, session = marginal_joules(unit, demand) / unit.price_ratio, None
        if facts.hints.session is not None:
            session = self.affinity.judge(demand, unit, question.home(), question.lateness)
        counterfactual = _counterfactual(question, unit, joules)
        ticket = self.ledger.enter(
            unit.address,
            resident_tokens=demand.resident_tokens,
            prefill_seconds=unit.fleet_ratio * prefill_seconds(unit, demand),
            now_seconds=now_seconds,
        )
        self.stalls.enter(ticket, demand, unit, now_seconds=now_seconds)
        send_prompt(unit, demand, now_seconds=now_seconds)
        self.workload.of(facts.model).arrive(
            facts, prompt_tokens=demand.prompt_tokens, now_seconds=now_seconds
        )
        self.affinity.sent(unit.address, facts, demand, now_seconds=now_seconds)
        fallbacks = self._fallbacks.of(unit, question)
        return Pick(
            unit.address,
            choice.reason,
            ticket,
            joules,
            counterfactual,
            fallbacks,
            candidates=len(question.eligible),
            cached_tokens=demand.at(unit.address).cached_tokens,
            session=session,
        )

    def _shed(self, question: Question) -> Rejection:
        """Refuse; the prompts already queued on the least late replica say when to come back."""
        free_seconds = question.least_late().account.prefill_free_seconds - question.now_seconds
        return rejections.shed(max(1.0, free_seconds))


def _counterfactual(question: Question, chosen: Unit, joules: float) -> Counterfactual:
    """What least-request would have picked, before this request is entered."""
    unit = least_request(question).unit
    if unit is not chosen:
        joules = marginal_joules(unit, question.demand) / unit.price_ratio
    return Counterfactual(unit.address, joules)
