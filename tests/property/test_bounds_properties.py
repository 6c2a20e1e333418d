"""What must hold of the bounds whatever is asked; above all that nobody beats them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.topology import Objective
from loadtest.arrivals import Arrival
from loadtest.bounds import ReplicaClass, Work, bounds
from loadtest.engine_state import Limits
from loadtest.simulator.arms import ARMS
from loadtest.simulator.simulation import Simulation, World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths
from loadtest.truth import truth_of

MODEL = "llama-3.1-8b"

fleets = st.dictionaries(
    st.sampled_from(["A100", "H100", "B200", "L40S"]), st.integers(1, 3), min_size=1, max_size=3
)
requests = st.tuples(st.floats(0.0, 8.0), st.integers(1, 4000), st.integers(1, 400))


def classes_of(fleet):
    return [ReplicaClass(truth_of(name), Limits(), count) for name, count in fleet.items()]


def work_of(lengths, *, window_seconds):
    work = Work(window_seconds=window_seconds)
    for prompt_tokens, output_tokens in lengths:
        work.add(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    return work


@settings(max_examples=25, deadline=None)
@given(
    fleets,
    st.lists(requests, min_size=1, max_size=150),
    st.sampled_from(sorted(set(ARMS) - {"naive-50ms", "naive-0.2s"})),
    st.integers(0, 3),
)
def test_no_simulated_policy_beats_the_bound(fleet, rows, arm, seed):
    plans = [
        BackendPlan(accelerator=name, replicas=count, models=(MODEL,))
        for name, count in fleet.items()
    ]
    arrivals = [Arrival(at, prompt, output, MODEL) for at, prompt, output in sorted(rows)]
    # Long enough that every answer ends within it: all joules are counted, and all tokens.
    window_seconds = 400.0
    world = World(
        fleet=build_fleet(
            plans, model=MODEL, objective=Objective(), racks=1, prior_ratio=ARMS[arm].prior_ratio
        ),
        truths=truths(plans, MODEL),
        window_seconds=window_seconds,
    )
    result = Simulation(world, ARMS[arm].simulation_arm(), iter(arrivals), seed=seed).run()
    assert result.completed == len(rows)
    assert result.output_tokens == sum(output for _, _, output in rows)
    work = work_of([(p, o) for _, p, o in rows], window_seconds=window_seconds)
    # Whoever keeps the objective is above the bound with it, all others above that without.
    kept = result.attained == result.requests
    found = bounds(work, classes_of(fleet), tpot_objective_seconds=0.05 if kept else None)
    assert found.always_on is not None
    assert result.joules_per_token >= found.always_on * (1.0 - 1e-9)


@settings(max_examples=20, deadline=None)
@given(
    fleets,
    st.lists(st.tuples(st.integers(1, 4000), st.integers(2, 400)), min_size=1, max_size=30),
    st.integers(2, 6),
)
def test_a_larger_load_takes_more_joules_and_no_fewer_dynamic_ones_per_token(fleet, lengths, more):
    classes = classes_of(fleet)
    light = work_of(lengths, window_seconds=600.0)
    heavy = work_of(lengths * more, window_seconds=600.0)
    idle_joules = 600.0 * sum(one.truth.idle_watts * one.replicas for one in classes)

    def dynamic(work, per_token):
        return per_token - idle_joules / work.output_tokens

    low = bounds(light, classes, tpot_objective_seconds=0.05)
    high = bounds(heavy, classes, tpot_objective_seconds=0.05)
    for name in ("always_on", "colocated_always_on"):
        few, many = getattr(low, name), getattr(high, name)
        assert many * heavy.output_tokens > few * light.output_tokens
        assert many <= few
        assert dynamic(heavy, many) >= dynamic(light, few) * (1.0 - 1e-6)


@settings(max_examples=20, deadline=None)
@given(
    fleets, st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 400)), min_size=1, max_size=60)
)
def test_more_freedom_never_costs_joules(fleet, lengths):
    work = work_of(lengths, window_seconds=600.0)
    found = bounds(work, classes_of(fleet), tpot_objective_seconds=0.05)
    slack = 1.0 + 1e-6
    assert found.always_on <= found.colocated_always_on * slack
    assert found.may_sleep <= found.colocated_may_sleep * slack
    assert found.may_sleep <= found.always_on * slack
    assert found.colocated_may_sleep <= found.colocated_always_on * slack
