"""The webhook's answers, the placer's patches and where a pod may go: pure parts by example."""

import base64
import json

import pytest
from racks_harness import node, pod

from capper.racks.admission import ReviewError, answer
from capper.racks.marks import GATE, OPT_IN_LABEL, RACK_LABEL, RESERVED_UNTIL, RESERVED_WATTS
from capper.racks.narrowing import is_gated, let_go, placed
from capper.racks.node_fit import open_racks, racks_of
from capper.racks.pods import declared_watts, owner_of, reservation_of

LABEL = "topology.headrace.dev/rack"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def review(obj, **request):
    return json.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u1",
                "operation": "CREATE",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "object": obj,
                **request,
            },
        }
    ).encode()


def patch_of(reply):
    return json.loads(base64.b64decode(reply["response"]["patch"]))


def test_a_pod_is_gated_once():
    reply, gated = answer(review(pod("n", "p", gated=False)))
    assert gated
    assert (reply["kind"], reply["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    assert {key: reply["response"][key] for key in ("uid", "allowed", "patchType")} == {
        "uid": "u1",
        "allowed": True,
        "patchType": "JSONPatch",
    }
    assert patch_of(reply) == [
        {"op": "add", "path": "/spec/schedulingGates", "value": [{"name": GATE}]}
    ]
    other = pod("n", "p", gated=False, schedulingGates=[{"name": "a/b"}])
    assert patch_of(answer(review(other))[0]) == [
        {"op": "add", "path": "/spec/schedulingGates/-", "value": {"name": GATE}}
    ]


@pytest.mark.parametrize(
    ("obj", "request_"),
    [
        (pod("n", "p"), {}),
        (pod("n", "p", gated=False, nodeName="a"), {}),
        (pod("n", "p", gated=False, labels={OPT_IN_LABEL: "disabled"}), {}),
        (pod("n", "p", gated=False), {"operation": "UPDATE"}),
        (pod("n", "p", gated=False), {"subResource": "binding"}),
        (pod("n", "p", gated=False), {"kind": {"group": "apps", "kind": "Deployment"}}),
        (None, {}),
        ({"spec": "text"}, {}),
    ],
)
def test_everything_else_passes_unchanged(obj, request_):
    reply, gated = answer(review(obj, **request_))
    assert not gated
    assert reply["response"] == {"uid": "u1", "allowed": True}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"request": {}}', review({}, uid=""), b"[" * 100_000],
)
def test_what_is_no_review_is_refused_in_a_sentence(body):
    with pytest.raises(ReviewError, match=r"\.$"):
        answer(body)


def placed_pod(**changes):
    given = pod("n", "p", **changes)
    given["metadata"]["uid"] = "7"
    return given


def test_a_rack_is_preferred_beside_what_the_user_prefers_and_requires():
    own = {"weight": 5, "preference": {"matchExpressions": []}}
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    affinity = {"nodeAffinity": {PREFERRED: [own], REQUIRED: {"nodeSelectorTerms": [term, {}]}}}
    given = placed_pod(affinity=affinity)
    patch = placed(
        given, rack="r1", rack_label=LABEL, watts=900.4, until_epoch_seconds=50.0, avoid=("r3",)
    )
    assert patch["metadata"] == {
        "uid": "7",
        "labels": {RACK_LABEL: "r1"},
        "annotations": {RESERVED_WATTS: "900", RESERVED_UNTIL: "50"},
    }
    assert patch["spec"]["schedulingGates"] is None
    wanted = patch["spec"]["affinity"]["nodeAffinity"]
    assert [one["weight"] for one in wanted[PREFERRED]] == [5, 100]
    away = {"key": LABEL, "operator": "NotIn", "values": ["r3"]}
    assert wanted[REQUIRED]["nodeSelectorTerms"] == [
        {"matchExpressions": [*term["matchExpressions"], away]},
        {},  # selects nothing, and must go on to
    ]
    assert affinity["nodeAffinity"][PREFERRED] == [own]


def test_a_users_own_rack_is_left_alone_and_other_gates_stay():
    given = placed_pod(nodeSelector={LABEL: "r2"})
    given["spec"]["schedulingGates"].append({"name": "a/b"})
    patch = placed(given, rack="r2", rack_label=LABEL, watts=1.0, until_epoch_seconds=1.0)
    assert "affinity" not in patch["spec"]
    assert patch["spec"]["schedulingGates"] == [{"name": "a/b"}]
    assert let_go(given) == {
        "metadata": {"uid": "7"},
        "spec": {"schedulingGates": [{"name": "a/b"}]},
    }
    assert is_gated(given)


def requiring(*expressions):
    term = {"matchExpressions": list(expressions)} if expressions else {}
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}


def expression(key, operator, *values):
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "racks"),
    [
        ({}, {"r1", "r2"}),
        ({"nodeSelector": {"zone": "a"}}, {"r1"}),
        ({"nodeSelector": {LABEL: "r2"}}, {"r2"}),
        ({"affinity": requiring()}, set()),
        ({"affinity": requiring(expression("zone", "In", "b", "c"))}, {"r2"}),
        ({"affinity": requiring(expression("zone", "NotIn", "b"))}, {"r1", "r2"}),
        ({"affinity": requiring(expression("big", "Exists"))}, {"r1"}),
        ({"affinity": requiring(expression("big", "DoesNotExist"))}, {"r2"}),
        ({"affinity": requiring(expression("boards", "Gt", "4"))}, {"r1"}),
        ({"affinity": requiring(expression("boards", "Lt", "8"))}, {"r2"}),
        ({"affinity": requiring(expression("boards", "Gt", "x"))}, set()),
        ({"affinity": requiring(expression("boards", "Like", "8"))}, set()),
        (
            {"affinity": requiring(expression("zone", "In", "a"), expression("big", "Exists"))},
            {"r1"},
        ),
    ],
)
def test_racks_are_open_by_the_labels_of_their_nodes(spec, racks):
    nodes = [
        node("n1", "r1", zone="a", big="yes", boards="8"),
        node("n2", "r2", zone="b", boards="4"),
        node("n3", "r2", zone="c", boards="none"),
        node("n4", None, zone="a"),
    ]
    assert open_racks(pod("n", "p", **spec), racks_of(nodes, LABEL)) == racks


def reserved_pod(*, ready_since=None, phase="Pending", node_name="", until="1000", **more):
    given = placed_pod(gated=False, labels={RACK_LABEL: "r1"}, **more)
    given["metadata"]["annotations"] = {RESERVED_WATTS: "900", RESERVED_UNTIL: until}
    given["spec"]["nodeName"] = node_name
    conditions = []
    if ready_since:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready_since}]
    given["status"] = {"phase": phase, "conditions": conditions}
    return given


@pytest.mark.parametrize(
    ("given", "rack"),
    [
        (reserved_pod(), "r1"),
        (reserved_pod(node_name="n2"), "r2"),
        (reserved_pod(node_name="elsewhere"), "r1"),
        (reserved_pod(ready_since="1970-01-01T00:07:30Z"), "r1"),
        (reserved_pod(ready_since="1970-01-01T00:07:20Z"), None),
        (reserved_pod(phase="Failed"), None),
        (reserved_pod(until="500"), None),
        (reserved_pod(until="soon"), None),
    ],
)
def test_a_reservation_lasts_until_the_pod_draws_or_ends(given, rack):
    found = reservation_of(given, {"n2": "r2"}, now_epoch_seconds=500.0)
    assert (None if found is None else (found.rack, found.watts)) == (rack and (rack, 900.0))


def test_owners_and_declared_watts_are_read_off_the_pod():
    assert owner_of(pod("n", "p", owner="llm")) == "llm"
    assert owner_of(pod("n", "p")) is None
    for text, watts in (("750", 750.0), ("-1", None), ("nan", None), ("9e400", None), ("", None)):
        annotations = {"powercapping.climatik-project.ai/watts": text}
        assert declared_watts(pod("n", "p", annotations=annotations)) == watts
