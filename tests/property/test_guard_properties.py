"""The TPOT guard answers to the prompts just sent to a replica, within what physics allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.physics import Mix
from fleet.priors import ACCELERATORS, prior_profile
from fleet.signals import FreshnessPolicy
from fleet.topology import Backend, Replica
from router.decide.board import Board
from router.decide.demand import Demand
from router.decide.group import build_groups
from router.decide.guard import predict, send_prompt
from router.decide.ledger import Ledger
from router.decide.unit import Unit

MIX = Mix(prompt_tokens=1155, computed_prompt_tokens=1155, output_tokens=211)
accelerators = st.sampled_from(sorted(ACCELERATORS))
prompts = st.floats(min_value=1, max_value=30_000)


def make_unit(accelerator="H100", *, time_ratio=1.0, running=0):
    profile = prior_profile(accelerator, parameters=8e9).scaled(
        time_ratio=time_ratio, power_ratio=1.0
    )
    name = f"{accelerator}-{time_ratio}".lower()
    replica = Replica(address=f"{name}:8000", backend=name, models=("llama",))
    backend = Backend(
        name=name, accelerator=accelerator, parameters=8e9, profile=profile, replicas=(replica,)
    )
    account = Ledger().account(replica.address)
    account.running = running
    unit = Unit(replica=replica, backend=backend, account=account, board=Board(backend, profile))
    unit.observe({}, FreshnessPolicy(), MIX, burst_life_ratio=0.18, now_seconds=0.0)
    return unit


def asking(prompt_tokens):
    return Demand(
        model="llama",
        prompt_tokens=prompt_tokens,
        output_tokens=MIX.output_tokens,
        mix=MIX,
        ttft_objective_seconds=None,
        tpot_objective_seconds=None,
        sheddable=False,
        subset=None,
    )


def predicted_tpot(unit, demand, *, now_seconds):
    return predict(unit, demand, kv_limit_ratio=0.9, now_seconds=now_seconds).tpot_seconds


@given(accelerators, st.lists(prompts, max_size=20), st.integers(0, 250), prompts)
def test_prompts_sent_never_lower_the_prediction_and_one_chunk_bounds_it(
    accelerator, sent, running, prompt_tokens
):
    unit, demand = make_unit(accelerator, running=running), asking(prompt_tokens)
    step = unit.profile.step
    quiet = before = predicted_tpot(unit, demand, now_seconds=0.0)
    for tokens in sent:
        send_prompt(unit, asking(tokens), now_seconds=0.0)
        now = predicted_tpot(unit, demand, now_seconds=0.0)
        assert now >= before
        before = now

    decode_seconds = step.decode_seconds(running + 1.0, demand.resident_tokens)
    longest = max(prompt_tokens, MIX.computed_prompt_tokens)
    chunk_seconds = step.prompt_seconds(
        step.chunk_tokens, cached_tokens=max(0.0, longest - step.chunk_tokens)
    )
    assert before >= decode_seconds
    assert before <= max(quiet, decode_seconds + chunk_seconds) * (1 + 1e-12)


@given(accelerators, st.lists(prompts, min_size=1, max_size=20), prompts)
def test_a_burst_is_forgotten(accelerator, sent, prompt_tokens):
    unit, demand = make_unit(accelerator), asking(prompt_tokens)
    quiet = predicted_tpot(unit, demand, now_seconds=0.0)
    for tokens in sent:
        send_prompt(unit, asking(tokens), now_seconds=0.0)

    later = predicted_tpot(unit, demand, now_seconds=1000.0)

    assert later == pytest.approx(quiet)


def test_a_burst_that_steady_state_would_allow_is_refused_until_it_is_over():
    unit, demand = make_unit("A100", running=20), asking(1155.0)
    assert predict(unit, demand, kv_limit_ratio=0.9, now_seconds=0.0).passes
    for _ in range(40):
        send_prompt(unit, demand, now_seconds=0.0)

    refused = predict(unit, demand, kv_limit_ratio=0.9, now_seconds=0.0)
    again = predict(unit, demand, kv_limit_ratio=0.9, now_seconds=10.0)

    assert (refused.passes, refused.limit) == (False, "tpot")
    assert again.passes


@given(st.floats(min_value=0.9, max_value=1.1))
def test_groups_change_places_only_for_more_than_sensors_may_err(ratio):
    first, second = make_unit(), make_unit(time_ratio=1.02)
    order = build_groups([first, second], MIX, 1.0)
    profile = second.backend.profile.scaled(time_ratio=1.0, power_ratio=ratio)
    second.equip(Board(second.backend, profile))
    groups = build_groups([first, second], MIX, 1.0, previous=order)

    merits = {
        group.units[0].address: group.merit_joules(prompt_tokens=1155, output_tokens=211)
        for group in groups
    }
    ahead = min(
        groups, key=lambda group: group.ordering_joules(prompt_tokens=1155, output_tokens=211)
    ).units[0]
    assert (ahead is second) == (merits[second.address] * 1.05 < merits[first.address])
