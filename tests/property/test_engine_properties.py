"""Whatever arrives, is aborted or runs out of room: tokens, blocks and joules are conserved."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loadtest.engine import Engine
from loadtest.engine_state import EngineRequest, Limits, State
from loadtest.truth import truth_of

BLOCK_TOKENS = 16
CAPACITY_TOKENS = 640
LIMITS = Limits(max_num_seqs=6, max_num_batched_tokens=128, kv_capacity_tokens=CAPACITY_TOKENS)

# Prompts share a few prefixes: (family, tokens); block i of a family has one hash.
prompts = st.tuples(st.integers(0, 2), st.integers(1, 400))


def block_hashes(family, tokens):
    return tuple((family, index).__hash__() for index in range(tokens // BLOCK_TOKENS))


class EngineMachine(RuleBasedStateMachine):
    """Random arrivals, aborts, steps and pauses, with an independent account of each."""

    def __init__(self):
        super().__init__()
        self.truth = truth_of("A100")
        self.engine = Engine[EngineRequest](self.truth, LIMITS)
        self.now = 0.0
        self.iteration = None
        self.requests: list[EngineRequest] = []
        self.emitted: dict[str, int] = {}
        self.step_joules = 0.0
        self.idle_seconds = 0.0

    @rule(prompt=prompts, output=st.integers(1, 200))
    def arrive(self, prompt, output):
        family, tokens = prompt
        request = EngineRequest(
            f"r{len(self.requests)}",
            prompt_tokens=tokens,
            output_tokens=output,
            block_hashes=block_hashes(family, tokens),
        )
        self.engine.submit(request, now_seconds=self.now)
        self.requests.append(request)
        self.emitted[request.request_id] = 0

    @precondition(lambda self: self.requests)
    @rule(index=st.integers(0, 10**6))
    def abort(self, index):
        request = self.requests[index % len(self.requests)]
        known = request.state not in {State.FINISHED, State.ABORTED}
        assert (self.engine.abort(request.request_id) is request) == known

    @precondition(lambda self: self.iteration is None)
    @rule()
    def plan(self):
        self.iteration = self.engine.plan(self.now)
        if self.iteration is not None:
            assert self.iteration.duration_seconds > 0
            assert (
                self.iteration.decode_batch + self.iteration.prefill_tokens
                <= LIMITS.max_num_batched_tokens
            )

    @precondition(lambda self: self.iteration is not None)
    @rule()
    def complete(self):
        decoding = [r for r in self.engine.requests() if r.state is State.DECODING]
        done = self.engine.complete(self.iteration)
        assert done.decoded_tokens == len(decoding)
        for request in (*decoding, *done.prefilled):
            self.emitted[request.request_id] += 1
        for request in done.finished:
            assert self.emitted[request.request_id] == request.output_tokens
        self.now = self.iteration.end_seconds
        self.step_joules += self.iteration.energy_joules
        self.iteration = None

    @rule()
    def run_many_steps(self):
        if self.iteration is not None:
            self.complete()
        for _ in range(30):
            self.plan()
            if self.iteration is None:
                return
            self.complete()

    @precondition(lambda self: self.iteration is None and not self.engine.requests())
    @rule(seconds=st.floats(0.0, 100.0))
    def idle(self, seconds):
        self.now += seconds
        self.idle_seconds += seconds

    @invariant()
    def blocks_never_exceed_the_cache_and_all_come_back(self):
        assert 0 <= self.engine.kv_used_tokens <= CAPACITY_TOKENS
        assert 0.0 <= self.engine.kv_usage_ratio <= 1.0
        if not self.engine.running:
            assert self.engine.kv_used_tokens == 0

    @invariant()
    def resident_tokens_have_blocks(self):
        decoding = [r for r in self.engine.requests() if r.state is State.DECODING]
        # Every token but the newest is stored; a shared prefix is stored once.
        own_tokens = sum(self.engine.generated(r) - 1 for r in decoding)
        assert own_tokens <= self.engine.kv_used_tokens

    @invariant()
    def tokens_are_conserved(self):
        assert self.engine.counters.generation_tokens == sum(self.emitted.values())
        for request in self.requests:
            assert self.engine.generated(request) == self.emitted[request.request_id]

    @invariant()
    def every_request_is_in_one_place(self):
        unfinished = list(self.engine.requests())
        assert self.engine.running + self.engine.waiting == len(unfinished)
        assert self.engine.running <= LIMITS.max_num_seqs
        finished = sum(self.engine.counters.finished.values())
        assert finished + self.engine.counters.aborted + len(unfinished) == len(self.requests)

    @invariant()
    def joules_are_the_integral_of_watts(self):
        energy = self.engine.energy(self.now)
        expected = self.step_joules + self.idle_seconds * self.truth.idle_watts
        assert math.isclose(energy.joules, expected, rel_tol=1e-9, abs_tol=1e-6)
        assert math.isclose(energy.idle_joules, self.now * self.truth.idle_watts, abs_tol=1e-6)
        assert math.isclose(
            energy.busy_seconds, self.now - self.idle_seconds, rel_tol=1e-9, abs_tol=1e-6
        )

    def teardown(self):
        """Without new arrivals every request ends: no livelock by preemption."""
        for _ in range(5000):
            if self.iteration is not None:
                self.complete()
            self.plan()
            if self.iteration is None:
                break
        assert not list(self.engine.requests())
        assert self.engine.kv_used_tokens == 0


TestEngineConserves = EngineMachine.TestCase
TestEngineConserves.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    reads=st.lists(st.floats(0.0, 30.0), min_size=2, max_size=20).map(sorted),
    output=st.integers(1, 300),
)
@settings(deadline=None)
def test_energy_never_falls_between_two_reads(reads, output):
    engine = Engine[EngineRequest](truth_of("B200"))
    engine.submit(EngineRequest("a", prompt_tokens=50, output_tokens=output), now_seconds=0.0)
    iteration = engine.plan(0.0)
    joules = 0.0
    for now in reads:
        while iteration is not None and iteration.end_seconds <= now:
            engine.complete(iteration)
            iteration = engine.plan(iteration.end_seconds)
        energy = engine.energy(now)
        assert energy.joules >= joules
        assert 0.0 <= energy.busy_seconds <= now
        joules = energy.joules


@given(
    prompts=st.lists(prompts, min_size=1, max_size=12),
    gap=st.floats(0.0, 0.5),
)
@settings(deadline=None, max_examples=50)
def test_cached_tokens_never_exceed_the_prompt_and_save_exactly_their_prefill(prompts, gap):
    limits = Limits(kv_capacity_tokens=100_000)  # no eviction, no preemption
    engine = Engine[EngineRequest](truth_of("H100"), limits)
    requests = []
    now = 0.0
    for number, (family, tokens) in enumerate(prompts):
        request = EngineRequest(
            f"r{number}",
            prompt_tokens=tokens,
            output_tokens=3,
            block_hashes=block_hashes(family, tokens),
        )
        engine.submit(request, now_seconds=now)
        requests.append(request)
        while (iteration := engine.plan(now)) is not None:
            engine.complete(iteration)
            now = iteration.end_seconds
        now += gap
    for request in requests:
        assert 0 <= request.cached_tokens < request.prompt_tokens
        assert request.cached_tokens % BLOCK_TOKENS == 0
    prompt_tokens = sum(request.prompt_tokens for request in requests)
    cached_tokens = sum(request.cached_tokens for request in requests)
    assert engine.counters.computed_prompt_tokens == prompt_tokens - cached_tokens
    assert engine.counters.prefix_hit_tokens == cached_tokens
