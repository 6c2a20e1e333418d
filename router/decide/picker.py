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
from router.decide.commitment import Commitment, CommitmentPolicy, Lot, commit
from router.decide.explain import Explanation, explain
from router.decide.fallbacks import Fallbacks
from router.decide.foreign_load import ForeignLoad
from router.decide.learning import Learner
from router.decide.ledger import Ledger, Ticket
from router.decide.outcome import Counterfactual, Pick, PickReason, Rejection
from router.decide.outliers import Outliers
from router.decide.policies import POLICIES, Choice, Policy, Question, least_request
from router.decide.pool import Pool, build_groups
from router.decide.request_facts import RequestFacts, RequestHints
from router.decide.room import all_full, refused
from router.decide.settings import DecideSettings
from router.decide.shares import take_shares
from router.decide.stalls import Stalls
from router.decide.unit import Demand, Unit, admits
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
        self._fleet: Fleet | None = None
        self._prices = PriceBoard()
        self._units: dict[str, Unit] = {}
        self._pools: dict[str, Pool] = {}
        self._commitments: dict[str, Commitment] = {}
        self._sequence: dict[str, int] = {}
        self.ledger = Ledger()
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
        if snapshot.fleet is not self._fleet:
            self._adopt(snapshot.fleet)
        self._prices = prices
        self.stalls.observe(snapshot, now_seconds=now_seconds)
        self.workload.observe(snapshot, now_seconds=now_seconds)
        self.learner.observe(snapshot, self._settings.freshness, now_seconds=now_seconds)
        mixes = self._mixes(now_seconds=now_seconds)
        for unit in self._units.values():
            unit.profile = self.learner.profile(unit.backend)
            unit.price_ratio = prices.ratio(unit.replica.domain, now_seconds=now_seconds)
            unit.observe(
                snapshot.of(unit.address),
                self._settings.freshness,
                mixes[unit.replica.models[0]],
                burst_life_ratio=self._settings.burst_life_ratio,
                now_seconds=now_seconds,
            )
        self.affinity.observe(
            snapshot, self._units.values(), self._settings.freshness, now_seconds=now_seconds
        )
        self._others.observe(self._pools.values(), now_seconds=now_seconds)
        self._regroup(mixes)

    def commit(self, *, now_seconds: float) -> None:
        """Choose anew which replicas are to carry each model's load; about once a second.

        Models with the fewest replicas choose first, and what they take of a shared replica is
        not there for the others.
        """
        used: dict[str, float] = {}
        for model in sorted(self._pools, key=lambda name: (len(self._pools[name].units), name)):
            pool, workload = self._pools[model], self.workload.of(model)
            fleet_ratio = self._others.ratio(model, now_seconds=now_seconds)
            previous = self._commitments.get(model, Commitment())
            commitment = commit(
                self._lots(pool, used, now_seconds),
                previous,
                self._commitment_policy(),
                requests_per_second=max(
                    fleet_ratio * workload.requests_per_second(now_seconds=now_seconds),
                    1.0 / self._settings.rate_window_seconds,
                ),
                swing_ratio=workload.swing.sample(now_seconds=now_seconds),
                now_seconds=now_seconds,
            )
            self._commitments[model] = commitment
            pool.committed = commitment.addresses
            take_shares(pool, commitment, used)

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
            for unit in self._units.values()
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
            if endpoint in self._units:
                self.outliers.skipped(endpoint, now_seconds=now_seconds)
        if address in self._units:
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
        pool = self._pools.get(model)
        groups = () if pool is None else pool.groups
        return sum(len(it.units) * it.capacity_requests_per_second for it in groups)

    def models(self) -> tuple[str, ...]:
        """Names of all served models, sorted."""
        return tuple(sorted(self._pools))

    def commitments(self) -> dict[str, Commitment]:
        """The set in force for each model, with its reasons."""
        return dict(self._commitments)

    def units(self) -> tuple[Unit, ...]:
        """All units, in declaration order."""
        return tuple(self._units.values())

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why not elsewhere; records nothing."""
        question = self.question(facts, now_seconds=now_seconds, draw=0.5)
        if isinstance(question, Rejection):
            return question
        return explain(question, self._policy(question), policy=self._settings.policy)

    # Inside

    def _adopt(self, fleet: Fleet) -> None:
        """Build units and pools for a topology, keeping the accounts of replicas that stay."""
        self._fleet = fleet
        self._units = {
            replica.address: Unit(
                replica=replica,
                backend=backend,
                account=self.ledger.account(replica.address),
                profile=self.learner.profile(backend),
            )
            for backend in fleet.backends
            for replica in backend.replicas
        }
        self.ledger.keep_only(frozenset(self._units))
        self.outliers.keep_only(frozenset(self._units))
        self.stalls.keep_only(frozenset(self._units))
        self.affinity.keep_only(frozenset(self._units), fleet.models())
        self._pools = {
            model: Pool(
                model=model,
                units=[unit for unit in self._units.values() if model in unit.replica.models],
            )
            for model in fleet.models()
        }
        self._others.keep_only(fleet.models())
        for kept in (self._commitments, self._sequence):
            for model in set(kept) - set(self._pools):
                del kept[model]
        for model, pool in self._pools.items():
            pool.committed = self._commitments.get(model, Commitment()).addresses
        self._regroup(self._mixes(now_seconds=0.0))

    def _mixes(self, *, now_seconds: float) -> dict[str, Mix]:
        """The present mean request of every served model."""
        return {
            model: self.workload.of(model).mix(now_seconds=now_seconds) for model in self._pools
        }

    def _regroup(self, mixes: dict[str, Mix]) -> None:
        self._fallbacks.forget()
        for model, pool in self._pools.items():
            pool.groups = build_groups(
                self.stalls.spare(pool.units),
                mixes[model],
                self._settings.swing_deviations,
                previous=pool.groups,
            )

    def question(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Question | Rejection:
        """The candidates of a request, or why there are none; records nothing."""
        pool = self._pools.get(facts.model)
        retry_after_seconds = self._settings.retry_after_seconds
        if pool is None and facts.model in self.known_models:
            return rejections.no_replica(facts.model, retry_after_seconds)
        if pool is None:
            return rejections.model_not_found(facts.model)
        demand, eligible = pool.admit(self.demand(facts, now_seconds))
        if not eligible:
            if demand.refused and pool.eligible(demand._replace(refused=frozenset())):
                return rejections.refused_by_domain(retry_after_seconds)
            return rejections.no_replica(facts.model, retry_after_seconds)
        return Question(
            pool=pool,
            eligible=eligible,
            demand=self.affinity.meet(facts, eligible, demand, now_seconds=now_seconds),
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
            refused=refused(
                self._units.values(),
                self._prices,
                sheddable=facts.hints.priority < 0,
                now_seconds=now_seconds,
            ),
            avoided=self.outliers.avoided(now_seconds=now_seconds),
            stalled=self.stalls.addresses,
            prefix_block_hashes=facts.prefix_block_hashes,
        )

    def _record(self, facts: RequestFacts, choice: Choice, question: Question) -> Pick:
        unit, demand, now_seconds = choice.unit, question.demand, question.now_seconds
        joules, session = unit.marginal_joules(demand) / unit.price_ratio, None
        if facts.hints.session is not None:
            session = self.affinity.judge(demand, unit, question.home(), question.lateness)
        counterfactual = _counterfactual(question, unit, joules)
        ticket = self.ledger.enter(
            unit.address,
            resident_tokens=demand.resident_tokens,
            prefill_seconds=unit.fleet_ratio * unit.prefill_seconds(demand),
            now_seconds=now_seconds,
        )
        self.stalls.enter(ticket, demand, unit, now_seconds=now_seconds)
        unit.send_prompt(demand, now_seconds=now_seconds)
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

    def _commitment_policy(self) -> CommitmentPolicy:
        settings = self._settings
        return CommitmentPolicy(
            reserve_deviations=settings.reserve_deviations,
            gain_ratio=settings.commit_gain_ratio,
            dwell_seconds=settings.commit_dwell_seconds,
        )

    def _lots(self, pool: Pool, used: dict[str, float], now_seconds: float) -> list[Lot]:
        mix = self.workload.of(pool.model).mix(now_seconds=now_seconds)
        lots = []
        for group in pool.groups:
            shares = sorted({round(used.get(unit.address, 0.0), 6) for unit in group.units})
            for share in shares:
                members = tuple(
                    unit.address
                    for unit in group.units
                    if round(used.get(unit.address, 0.0), 6) == share
                )
                lots.append(
                    Lot(
                        members=members,
                        curve=group.curve,
                        price_ratio=group.price_ratio,
                        merit_joules=group.ordering_joules(
                            prompt_tokens=mix.computed_prompt_tokens,
                            output_tokens=mix.output_tokens,
                        ),
                        capacity_requests_per_second=group.capacity_requests_per_second,
                        used_ratio=min(share, 1.0),
                    )
                )
        return lots


def _counterfactual(question: Question, chosen: Unit, joules: float) -> Counterfactual:
    """What least-request would have picked, before this request is entered."""
    unit = least_request(question).unit
    if unit is not chosen:
        joules = unit.marginal_joules(question.demand) / unit.price_ratio
    return Counterfactual(unit.address, joules)
