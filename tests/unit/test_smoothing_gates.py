"""Gated pods follow the weekly peaks where the policy is headroom, in racks with room."""

from smoothing_builders import DAY, day_and_night, tree

from capper.decide.gates import Fate, GatedPod, GateRules, RoomView, decide_gates
from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy
from capper.decide.rack_room import Rack
from capper.decide.smoothing_hints import peak_board
from capper.racks.candidates import service_of


def rack(name, *, watts, celsius=None):
    return Rack(
        name=name,
        cap_watts=20_000.0,
        power=Sample(watts, 0.0),
        inlet=None if celsius is None else Sample(celsius, 0.0),
    )


def gated(count, *, service=DAY, racks=None):
    return [
        GatedPod(key=f"p{n}", age_seconds=1.0, watts=700.0, racks=racks, service=service)
        for n in range(count)
    ]


def room(**caps):
    """Rack a is crowded by day, b by night; b draws more now, so headroom alone says a."""
    week = day_and_night()
    return RoomView(
        racks=(rack("a", watts=2000.0, celsius=20.0), rack("b", watts=3000.0, celsius=25.0)),
        feeds={},
        peaks=peak_board(week, tree("a", "b", caps=caps)),
    )


def placed(pods, view, policy=PlacementPolicy.HEADROOM):
    found = decide_gates(pods, view, GateRules(policy=policy))
    assert {one.fate for one in found} == {Fate.PLACED}
    return found


def test_a_replica_goes_where_the_peaks_rise_least_and_the_reason_says_so():
    [found] = placed(gated(1), room())
    assert found.rack == "b"
    assert found.reason.startswith("its weekly peak rises by 100 of the replica's 700 W; ")


def test_replicas_of_one_turn_know_of_each_other():
    racks = [one.rack for one in placed(gated(8), room())]
    # b takes day replicas until its days peak as its nights do, then a and b take turns.
    assert racks[0] == "b"
    assert 0 < racks.count("a") < 8


def test_without_a_plan_or_a_trace_or_for_heat_policies_the_policy_decides():
    bare = RoomView(racks=room().racks, feeds={})
    assert placed(gated(1), bare)[0].rack == "a"
    assert placed(gated(1, service=None), room())[0].rack == "a"
    assert placed(gated(1, service="unknown"), room())[0].rack == "a"
    assert placed(gated(1), room(), PlacementPolicy.COOLEST)[0].rack == "a"


def test_a_rack_that_is_closed_or_whose_week_is_full_is_not_taken():
    assert placed(gated(1, racks=frozenset({"a"})), room())[0].rack == "a"
    assert placed(gated(1), room(b=2850.0))[0].rack == "a", "the week of b has no 100 W left"
    # Where no week has room the room of now decides: the caps guard that.
    assert placed(gated(1), room(a=100.0, b=100.0))[0].rack == "a"


def test_the_service_of_a_pod_is_found_by_its_owner():
    pod = {
        "metadata": {
            "namespace": "llm",
            "name": "chat-5d-x",
            "labels": {"pod-template-hash": "5d"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "chat-5d", "controller": True}],
        }
    }
    assert service_of(pod, {"Deployment/llm/chat": 1}) == "Deployment/llm/chat"
    assert service_of(pod, ()) is None
