"""The resource becomes the policy that it describes."""

import yaml

from capper.api.files import parse
from capper.api.translate import policy_of
from capper.decide.policy import ROOT, Mode, NamedCap, Rung, TargetKind
from tests.unit.test_capper_api import ORIGINAL, with_spec
from tests.unit.test_project import ROOT as REPOSITORY


def racks_example():
    return policy_of(
        parse(yaml.safe_load((REPOSITORY / "k8s/examples/racks.yaml").read_text())),
    )


def test_the_original_fields_become_caps_and_a_target():
    policy = policy_of(parse(ORIGINAL))
    root, rack = policy.domains
    assert (root.name, root.parent) == (ROOT, None)
    assert {(cap.source, cap.watts) for cap in root.caps} == {
        ("powerCapLimit", 1000.0),
        ("threshold of metrics[0]", 800.0),
    }
    assert root.cap == NamedCap(source="threshold of metrics[0]", watts=800.0)
    assert (rack.name, rack.parent, rack.cap.watts, rack.max_inlet_celsius) == (
        "rack-1",
        ROOT,
        500.0,
        35.0,
    )
    (target,) = policy.targets
    assert (target.ref, target.kind) == (
        "ScaledObject/default/llm-scaler",
        TargetKind.SCALED_OBJECT,
    )
    assert policy.mode is Mode.OBSERVE


def test_racks_hang_on_their_domain():
    policy = racks_example()
    assert {domain.name: domain.parent for domain in policy.domains} == {
        ROOT: None,
        "row-a": ROOT,
        "rack-1": "row-a",
        "rack-2": "row-a",
    }


def test_the_rungs_are_those_that_are_enabled():
    assert racks_example().rungs == frozenset(Rung) - {Rung.LIMITS}
    off = {"enabled": False}
    only_price = with_spec(replicaBounds=off, brake=off)
    assert policy_of(parse(only_price)).rungs == {Rung.PRICE}


def test_floors_priorities_and_clocks_are_in_si():
    policy = racks_example()
    by_ref = {target.ref.rsplit("/", 1)[-1]: target for target in policy.targets}
    assert (by_ref["chat-scaler"].priority, by_ref["chat-scaler"].min_replicas) == (10, 2)
    assert by_ref["batch-scaler"].min_replicas == 0
    assert by_ref["embeddings"].min_replicas == 1
    assert by_ref["embeddings"].prefers_pause is False
    assert policy.clocks.min_hertz == 1.1e9
    assert by_ref["chat-scaler"].clocks.base_hertz == 1.98e9
    assert policy.thresholds.restrict_ratio == 0.9


def test_further_caps_limit_the_whole():
    carbon = NamedCap(source="carbon schedule", watts=300.0)
    policy = policy_of(parse(ORIGINAL), root_caps=(carbon,))
    assert policy.domains[0].cap == carbon


def test_a_target_that_is_named_and_found_is_one_target():
    named = policy_of(parse(ORIGINAL)).targets
    assert policy_of(parse(ORIGINAL), enrolled=named).targets == named
