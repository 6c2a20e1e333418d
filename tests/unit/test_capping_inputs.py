"""Who waits in the router, as the capper's forecast by backend."""

from hypothesis import given
from hypothesis import strategies as st

from capper.decide.observation import RouterForecast
from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Replica
from headrace.capping_inputs import with_waiting
from router.admission.demand import WaitingDemand

PROFILE = prior_profile("H100", parameters=8e9)
MODELS = ("chat", "code", "embed")


def backend(name, *models):
    replicas = tuple(
        Replica(address=f"{name}:{number}", backend=name, models=(model,))
        for number, model in enumerate(models)
    )
    return Backend(
        name=name, accelerator="H100", parameters=8e9, profile=PROFILE, replicas=replicas
    )


FLEET = Fleet((backend("a", "chat", "chat"), backend("b", "code"), backend("c", "chat", "embed")))
demands = st.dictionaries(
    st.sampled_from([*MODELS, "stranger"]),
    st.builds(
        WaitingDemand,
        requests=st.integers(0, 9),
        work_tokens=st.just(100),
        oldest_age_seconds=st.just(1.0),
        has_replica=st.booleans(),
    ),
)
known = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(
        RouterForecast,
        in_flight_requests=st.integers(0, 9),
        demand_replicas=st.none() | st.integers(0, 5),
    ),
)


@given(known, demands, st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 3)))
def test_backends_of_models_with_waiters_need_one_more_and_no_others_change(before, waiting, awake):
    after = with_waiting(before, FLEET, waiting, lambda name: awake.get(name, 0))
    for one in FLEET.backends:
        models = {model for replica in one.replicas for model in replica.models}
        if any(waiting[model].requests for model in models & waiting.keys()):
            needed = after[one.name].demand_replicas
            asked = before.get(one.name, RouterForecast()).demand_replicas or 0
            assert needed == max(asked, awake.get(one.name, 0) + 1)
        else:
            assert after.get(one.name) == before.get(one.name)


def test_a_backend_without_a_replica_for_the_router_is_found_by_what_sleeps():
    waiting = {"code": WaitingDemand(3, 300, 1.0, has_replica=False)}
    after = with_waiting({}, FLEET, waiting, lambda _name: 0)
    assert after == {"b": RouterForecast(demand_replicas=1)}
