"""The API's models: what they write they read, and the schema says the same as they do."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from capper.api.config import PowerCappingConfig, Spec
from capper.api.rules import models_of
from capper.api.schema import custom_resource_definition
from capper.api.status import Status

names = st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z")
ratios = st.lists(st.integers(1, 99), min_size=4, max_size=4, unique=True).map(
    lambda cuts: [cut / 100 for cut in sorted(cuts)]
)
refs = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": names})},
    optional={
        "kind": st.sampled_from(["ScaledObject", "InferenceService", "Deployment"]),
        "minReplicas": st.integers(0, 3),
        "maxReplicas": st.integers(3, 9),
        "priority": st.integers(-5, 5),
    },
)


@st.composite
def specs(draw) -> dict[str, Any]:
    leave, watch, restrict_leave, restrict = draw(ratios)
    racks = draw(st.lists(names, unique=True, max_size=3))
    return {
        "powerCapLimit": draw(st.one_of(st.integers(1, 10**7), st.just("12.5kW"))),
        "scaleObjectRef": draw(st.lists(refs, min_size=1, max_size=3)),
        "mode": draw(st.sampled_from(["Observe", "Recommend", "Enforce"])),
        "thresholds": {
            "watchLeaveRatio": leave,
            "watchRatio": watch,
            "restrictLeaveRatio": restrict_leave,
            "restrictRatio": restrict,
        },
        "rackConstraints": [
            {"rackId": rack, "maxPower": draw(st.integers(1, 10**6))} for rack in racks
        ],
    }


def resource(spec: dict[str, Any]) -> PowerCappingConfig:
    return PowerCappingConfig.model_validate(
        {
            "apiVersion": "powercapping.climatik-project.ai/v1",
            "kind": "PowerCappingConfig",
            "metadata": {"name": "x"},
            "spec": spec,
        }
    )


@given(specs())
def test_a_resource_survives_being_written_and_read(spec):
    config = resource(spec)
    text = yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert PowerCappingConfig.model_validate(yaml.safe_load(text)) == config


def nodes(schema: dict[str, Any], path: str = ""):
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def structural():
    version = custom_resource_definition()["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]["properties"]


def test_every_field_is_described_and_bounded():
    for root in ("spec", "status"):
        for path, node in nodes(structural()[root], root):
            if not path.endswith("[]"):
                assert node.get("description"), path
            if node.get("type") == "array":
                assert node.get("maxItems"), path


def test_the_schema_is_structural():
    for root in ("spec", "status"):
        for path, node in nodes(structural()[root], root):
            union = node.get("x-kubernetes-int-or-string")
            assert union or "type" in node, path
            assert not {"$ref", "oneOf", "allOf", "title", "const"} & node.keys(), path
            assert not ("properties" in node and "additionalProperties" in node), path
            assert union or "anyOf" not in node, path


def test_every_rule_of_every_model_reaches_the_schema():
    said = [
        rule["rule"]
        for root in ("spec", "status")
        for _, node in nodes(structural()[root], root)
        for rule in node.get("x-kubernetes-validations", ())
    ]
    for root in (Spec, Status):
        for model in models_of(root):
            rules = {rule.cel for rule in model.rules if rule.cel is not None}
            assert rules <= set(said), model.__name__
