"""From the loop's report and the sensors to the room, and from it to status and conditions."""

import json
import math

import pytest
from capper_builders import policy_of, target, watts

from capper.api.config import Spec
from capper.api.room_blocks import Placement, RackQueries
from capper.decide.heat_budgets import recirculation_factors
from capper.decide.loop import decide
from capper.decide.observation import DomainReading, Observation, Sample
from capper.decide.policy import DomainPolicy, Mode, NamedCap, TargetPolicy
from capper.decide.state import State
from capper.operator.report import TurnReport
from capper.racks.candidates import owners_of, watts_of, why_not_in_force
from capper.racks.ledger import Ledger
from capper.racks.marks import GATE, RACK_LABEL, RESERVED_UNTIL, RESERVED_WATTS
from capper.racks.matrix import MatrixInForce
from capper.racks.pods import Reserved
from capper.racks.questions import samples, texts
from capper.racks.room import rack_statuses, room_of, rules_of
from capper.racks.saying import conditions_of
from capper.racks.sensed import Sensed
from fleet.thermal import ThermalModel

MODEL = ThermalModel(
    racks=("r1", "r2"),
    approach_celsius=(1.0, 1.0),
    recirculation_kelvin_per_watt=((3e-4, 1e-4), (1e-4, 1e-4)),
)
SPEC = Spec.model_validate(
    {
        "powerCapLimit": 30_000,
        "deploymentName": "llm",
        "domains": [{"name": "row", "capWatts": 20_000, "racks": ["r1", "r2"]}],
        "rackConstraints": [
            {"rackId": "r1", "maxPower": 10_000, "maxTemperature": 27, "idleWatts": 500,
             "airflowCubicMetersPerSecond": 2},
            {"rackId": "r2", "maxPower": 12_000},
        ],
        "placement": {"policy": "minHR"},
        "cooling": {"redlineCelsius": 25},
    }
)  # fmt: skip


def report_of(*, r1=4000.0, r2=2000.0):
    def domain(name, cap, parent, **more):
        return DomainPolicy(
            name=name, parent=parent, caps=(NamedCap(source="x", watts=cap),), **more
        )

    policy = policy_of(
        TargetPolicy(ref="Deployment/n/llm", backend="llm"),
        cap=30_000.0,
        domains=(
            domain("row", 20_000.0, "fleet"),
            domain("r1", 10_000.0, "row", max_inlet_celsius=27.0),
            domain("r2", 12_000.0, "row"),
        ),
    )
    readings = {"fleet": watts(6000.0), "row": watts(6000.0), "r1": watts(r1), "r2": watts(r2)}
    readings["r1"] = DomainReading(power=readings["r1"].power, inlet_celsius=(Sample(22.5, 0.0),))
    known = {name: one for name, one in readings.items() if one.power[0].samples[0].value}
    observation = Observation(domains=known, targets={"Deployment/n/llm": target(4, each=1500.0)})
    plan = decide(policy, observation, State(), now_seconds=0.0, draws={"Deployment/n/llm": 0.5})
    return TurnReport(
        name="n/c", policy=policy, observation=observation, plan=plan, state=plan.state
    )


def believe(_rack, _sensor, sample, _watts):
    return sample, ""


def view(report=None, *, late=0.0, sensed=None, reserved=(), model=None):
    return room_of(
        SPEC,
        report or report_of(),
        late_seconds=late,
        sensed=sensed or Sensed(),
        believe=believe,
        reserved=reserved,
        matrix=MatrixInForce(model, "given"),
    )


def test_racks_have_their_own_watts_limits_and_every_domain_above():
    reserved = [Reserved("a", "r1", 1000.0, 9.0), Reserved("b", "elsewhere", 300.0, 9.0)]
    room, doubts = view(late=7.0, reserved=reserved)
    one, two = room.racks
    assert (one.power, one.inlet) == (Sample(4000.0, 7.0), Sample(22.5, 7.0))
    assert (one.reserved_watts, two.reserved_watts) == (1000.0, 0.0)
    assert (one.domains, one.idle_watts, two.inlet) == (("row", "fleet"), 500.0, None)
    assert {name: feed.reserved_watts for name, feed in room.feeds.items()} == {
        "fleet": 1300.0,
        "row": 1000.0,
        "r1": 1000.0,
        "r2": 0.0,
    }
    assert doubts == ()


def test_a_query_of_ones_own_comes_first_and_air_is_measured_or_declared():
    sensed = Sensed(
        power={"r2": Sample(2500.0, 3.0)},
        outlet={"r1": Sample(35.0, 1.0)},
        airflow={"r2": Sample(4.0, 1.0)},
    )
    room, _ = view(sensed=sensed, model=MODEL)
    assert room.racks[1].power == Sample(2500.0, 3.0)
    assert room.racks[0].outlet == Sample(35.0, 1.0)
    # r1 sends 3e-4 x 2 + 1e-4 x 4, r2 1e-4 x 2 + 1e-4 x 4.
    assert room.factors == pytest.approx({"r1": 1.0, "r2": 1e-3 / 6e-4})
    lies = Sensed(airflow={"r2": Sample(math.nan, 1.0)})
    room, _ = view(sensed=lies, model=MODEL)
    assert room.factors == pytest.approx(recirculation_factors(MODEL))


def test_what_the_loop_does_not_believe_is_unknown_here_too():
    room, _ = view(report_of(r1=0.0))
    assert room.racks[0].power is None
    room, _ = view(late=46.0)
    statuses = rack_statuses(room, rules_of(SPEC, SPEC.placement).placement, {"r1": 2})
    assert [one.observed_watts for one in statuses] == [None, None], "a loop that hangs is old news"


def test_statuses_show_what_is_left_and_rules_are_the_resources():
    rules = rules_of(SPEC, SPEC.placement)
    assert (rules.placement.free_ratio, rules.placement.redline_celsius) == (0.12, 25.0)
    room, _ = view(reserved=[Reserved("a", "r1", 1000.0, 9.0)])
    one, two = rack_statuses(room, rules.placement, {"r1": 2})
    assert (one.observed_watts, one.reserved_watts, one.left_watts) == (4000.0, 1000.0, 3800.0)
    assert (one.inlet_celsius, one.nodes, two.inlet_celsius, two.nodes) == (22.5, 2, None, 0)


def pod(annotations=None, *, owner="llm", uid="1", gated=False, rack=None):
    labels = {"pod-template-hash": "h", **({RACK_LABEL: rack} if rack else {})}
    return {
        "metadata": {
            "namespace": "n",
            "name": "p",
            "uid": uid,
            "labels": labels,
            "annotations": annotations or {},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{owner}-h", "controller": True}],
        },
        "spec": {"schedulingGates": [{"name": GATE}] if gated else []},
    }


def test_watts_come_from_the_annotation_the_target_the_block_or_the_largest():
    report = report_of()
    owners = owners_of(report.policy, report.plan)
    told = {"powercapping.climatik-project.ai/watts": "700"}
    assert watts_of(pod(told), owners, Placement()) == 700.0
    assert watts_of(pod(), owners, Placement(watts_per_replica=9.0)) == 1500.0
    assert watts_of(pod(owner="x"), owners, Placement(watts_per_replica=9.0)) == 9.0
    assert watts_of(pod(owner="x"), owners, Placement()) == 1500.0
    assert watts_of(pod(owner="x"), {}, Placement()) is None


def test_nothing_is_in_force_without_enforce_gates_and_nodes():
    gates, templates = Placement(), Placement(mode="DeploymentAffinity")
    assert why_not_in_force(gates, Mode.ENFORCE, known=True) == ""
    assert why_not_in_force(gates, Mode.OBSERVE, known=True) == "the mode is Observe"
    assert "DeploymentAffinity" in why_not_in_force(templates, Mode.ENFORCE, known=True)
    assert "no node that can be seen" in why_not_in_force(gates, Mode.ENFORCE, known=False)


def said(placement=None, mode=Mode.ENFORCE, **changed):
    given = {"racks": ["r1", "r2"], "nodes": {"r1": 1}, "doubts": (), "problems": (), **changed}
    matrix = given.pop("matrix", MatrixInForce(None, "absent"))
    return conditions_of(placement or Placement(), mode, matrix=matrix, **given)


def test_conditions_say_what_is_ready_and_what_is_not():
    assert said() == {
        "PlacementReady": (True, "Placing", "1 of 2 racks have nodes; r2 has none."),
    }
    reasons = {
        said(racks=[])["PlacementReady"][1],
        said(nodes={})["PlacementReady"][1],
        said(mode=Mode.RECOMMEND)["PlacementReady"][1],
        said(problems=("x.", "y"))["PlacementReady"][1],
    }
    assert reasons == {"NoRacks", "NoNodes", "Recommend", "Troubled"}
    assert said(problems=("x.", "y"))["PlacementReady"][2] == "x; y."
    assert said(matrix=MatrixInForce(None, "absent", "bad"))["MatrixUnusable"][2] == "bad."
    assert said(doubts=("a", "b"))["RackSensorDoubted"][2] == "a; b."
    assert "RestartsPods" in said(Placement(mode="DeploymentAffinity"))


def test_what_was_sent_counts_until_the_pod_shows_it_and_each_pod_once():
    ledger, sent = Ledger(), Reserved("1", "r1", 900.0, 2000.0)
    ledger.send(sent, now_epoch_seconds=1000.0)
    assert ledger.all() == (sent,)
    assert ledger.was_sent("1")
    ledger.look([pod(gated=True)], {}, now_epoch_seconds=1001.0)
    assert ledger.all() == (sent,)
    marks = {RESERVED_WATTS: "900", RESERVED_UNTIL: "2000"}
    ledger.look([pod(marks, rack="r1")], {}, now_epoch_seconds=1002.0)
    assert ledger.all() == (sent,)
    assert not ledger.was_sent("1")
    ledger.look([], {}, now_epoch_seconds=1003.0)
    assert ledger.all() == ()
    ledger.send(sent, now_epoch_seconds=1000.0)
    ledger.look([pod(gated=True)], {}, now_epoch_seconds=1031.0)
    assert ledger.all() == (), "the write is lost"
    ledger.send(sent, now_epoch_seconds=1000.0)
    ledger.refuse("1")
    assert ledger.all() == ()


def test_questions_ask_for_values_and_ages_of_one_instant():
    asked = texts(RackQueries(label="cabinet", outlet_celsius="avg by (cabinet) (out{a='b'})"))
    assert "time() - timestamp(out{a='b'})" in asked["outlet_celsius"]
    assert "max by (cabinet)" in asked["outlet_celsius"]
    assert "power_watts" not in asked
    recorded = texts(RackQueries())
    assert "capper:rack_outlet_measured_seconds" in recorded["outlet_celsius"]
    assert json.dumps(recorded["supply_celsius"]).count("capper:supply_celsius") == 2


def row(value, part="value", **labels):
    return {"capper_part": part, **labels}, value


def test_answers_are_sorted_by_rack_with_the_age_of_the_oldest_part():
    rows = [
        row(30.0, rack="r1"),
        row(31.0, rack="r2"),
        row(32.0, rack="r2", side="left"),
        row(5.0, "age-0", rack="r1"),
        row(9.0, "age-1", rack="r1"),
        row(math.nan, "age-1", rack="r1"),
    ]
    assert samples(rows, "rack") == {"r1": Sample(30.0, 9.0)}
    assert samples([row(18.0), row(4.0, "age-0")], "rack") == {"": Sample(18.0, 4.0)}
