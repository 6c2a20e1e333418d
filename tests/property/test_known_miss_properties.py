"""What is remembered of a failed guard holds: no request that it turns away would have passed."""

import full_guard
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fleet.physics import Mix
from fleet.priors import prior_profile
from fleet.signals import FreshnessPolicy, Signal, SignalKind
from fleet.topology import Backend, Replica
from router.decide.affinity_nearness import Nearness
from router.decide.board import Board
from router.decide.demand import Demand
from router.decide.guard import lateness, predict, send_prompt
from router.decide.known_miss import NO_MISS, find_miss, holds
from router.decide.ledger import Ledger
from router.decide.terms import passes, terms_of
from router.decide.unit import Unit

KV_LIMIT_RATIO = 0.9
ADDRESS = "10.0.0.1:8000"
REPLICA = Replica(address=ADDRESS, backend="b", models=("m",))


class Known:
    """The same on every replica."""

    def __init__(self, cached_tokens):
        self.near = Nearness(cached_tokens, cached_tokens)

    def at(self, _):
        return self.near

    def beyond(self, _):
        return ()


mixes = st.builds(
    lambda prompt, share, output: Mix(
        prompt_tokens=prompt, computed_prompt_tokens=share * prompt, output_tokens=output
    ),
    st.floats(10, 8000),
    st.floats(0, 1),
    st.floats(1, 1000),
)


@st.composite
def demands(draw):
    prompt_tokens = draw(st.floats(1, 60_000))
    cached = draw(st.none() | st.floats(0, 1))
    return Demand(
        model="m",
        prompt_tokens=prompt_tokens,
        output_tokens=draw(st.floats(0, 4000)),
        mix=draw(mixes),
        ttft_objective_seconds=draw(st.none() | st.floats(0.05, 20)),
        tpot_objective_seconds=draw(st.none() | st.floats(0.005, 1)),
        sheddable=False,
        subset=None,
        near=None if cached is None else Known(cached * prompt_tokens),
    )


@st.composite
def units(draw):
    """A replica with some load of ours and of others, as of second 10."""
    profile = prior_profile(draw(st.sampled_from(["A100", "H100", "B200"])), parameters=8e9)
    if draw(st.booleans()):
        profile = profile.corrected(
            time_ratios=tuple(draw(st.lists(st.floats(0.5, 2), min_size=10, max_size=10))),
            prompt_ratio=draw(st.floats(0.5, 2)),
            power_ratios=(),
        )
    backend = Backend(
        name="b",
        accelerator="H100",
        parameters=8e9,
        profile=profile,
        replicas=(REPLICA,),
        max_running_requests=draw(st.sampled_from([16, 256])),
    )
    ledger = Ledger()
    account, board = ledger.account(ADDRESS), Board(backend, profile)
    unit = Unit(replica=REPLICA, backend=backend, account=account, board=board)
    readings = {
        SignalKind.RUNNING_REQUESTS: draw(st.integers(0, 60)),
        SignalKind.WAITING_REQUESTS: draw(st.integers(0, 8)),
        SignalKind.KV_USAGE_RATIO: draw(st.floats(0, 1)),
    }
    signals = {kind: Signal(float(value), 10.0) for kind, value in readings.items()}
    mix = draw(mixes)
    unit.observe(signals, FreshnessPolicy(), mix, burst_life_ratio=0.18, now_seconds=10.0)
    for demand in draw(st.lists(demands(), max_size=8)):
        ledger.enter(
            ADDRESS,
            resident_tokens=demand.resident_tokens,
            prefill_seconds=profile.step.prompt_seconds(demand.prompt_tokens),
            now_seconds=10.0,
        )
        send_prompt(unit, demand, now_seconds=10.0)
    return unit


def smaller(demand, ratios, changes):
    """A request like `demand` that asks for less, under a mix with less prefill.

    No more of it is cached than it has: nearness is looked up with that bound.
    """
    prompt, output, mean = ratios
    mix, prompt_tokens = demand.mix, prompt * demand.prompt_tokens
    if demand.near is not None:
        cached_tokens = min(demand.near.near.cached_tokens, prompt_tokens)
        changes = {"near": Known(cached_tokens), **changes}
    return replace(
        demand,
        prompt_tokens=prompt_tokens,
        output_tokens=output * demand.output_tokens,
        mix=Mix(
            prompt_tokens=mix.prompt_tokens,
            computed_prompt_tokens=mean * mix.computed_prompt_tokens,
            output_tokens=mix.output_tokens,
        ),
        **changes,
    )


ratios = st.tuples(*[st.sampled_from([0.0, 0.02, 0.5, 0.9, 0.97, 1.0])] * 3)
changes = st.fixed_dictionaries(
    {},
    optional={
        "ttft_objective_seconds": st.sampled_from([None, 20.0]),
        "tpot_objective_seconds": st.just(None),
        "near": st.just(None),
    },
)


@settings(max_examples=150)
@given(
    unit=units(),
    first=demands(),
    others=st.lists(st.tuples(ratios, changes, st.floats(0, 0.5)), min_size=1, max_size=12),
)
def test_whatever_is_remembered_fails_again(unit, first, others):
    now_seconds = 10.0
    terms = terms_of(first, unit, KV_LIMIT_RATIO, now_seconds)
    miss = find_miss(unit, terms)
    if passes(unit, terms):
        assert miss is NO_MISS or not holds(miss, terms)
        return
    for ratio, changed, later_seconds in others:
        now_seconds += later_seconds
        demand = smaller(first, ratio, changed)
        if miss is not NO_MISS and holds(miss, terms_of(demand, unit, KV_LIMIT_RATIO, now_seconds)):
            limit = {"kv_limit_ratio": KV_LIMIT_RATIO, "now_seconds": now_seconds}
            assert not full_guard.predict(unit, demand, **limit).passes


@given(unit=units(), demand=demands(), later_seconds=st.floats(0, 3))
def test_the_short_way_to_the_lateness_is_the_long_one(unit, demand, later_seconds):
    now_seconds = 10.0 + later_seconds
    limit = {"kv_limit_ratio": KV_LIMIT_RATIO, "now_seconds": now_seconds}
    found = full_guard.predict(unit, demand, **limit)
    assert predict(unit, demand, **limit) == found
    assert found.lateness_ratio == lateness(unit, demand, KV_LIMIT_RATIO, now_seconds)
    assert found.passes is passes(unit, terms_of(demand, unit, KV_LIMIT_RATIO, now_seconds))
