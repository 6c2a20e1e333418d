"""PowerCappingConfig: what is accepted, what is refused and with which sentence."""

import copy
from pathlib import Path

import pytest
import yaml

from capper.api import API_VERSION, KIND
from capper.api.files import InvalidConfigError, parse
from capper.api.generate import generated
from tests.unit.test_project import ROOT, text_of

EXAMPLES = sorted((ROOT / "k8s/examples").glob("*.yaml"))

ORIGINAL = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "original"},
    "spec": {
        "powerCapLimit": 1000,
        "deploymentName": "llm",
        "scaleObjectRef": [
            {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "metadata": {"name": "llm-scaler"},
            }
        ],
        "metrics": [
            {
                "type": "prometheus",
                "prometheusAddress": "http://prometheus:9090",
                "query": "sum(rate(kepler_container_joules_total[1m]))",
                "threshold": "800",
            }
        ],
        "rackConstraints": [{"rackId": "rack-1", "maxPower": 500, "maxTemperature": 35}],
    },
}


def with_spec(**changes):
    document = copy.deepcopy(ORIGINAL)
    document["spec"].update(changes)
    return {**document, "spec": {k: v for k, v in document["spec"].items() if v is not None}}


def problems_of(document) -> list[str]:
    with pytest.raises(InvalidConfigError) as raised:
        parse(document)
    return raised.value.problems


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path):
    parse(yaml.safe_load(path.read_text()))


def test_the_original_designs_fields_keep_their_meaning():
    spec = parse(ORIGINAL).spec
    assert spec.power_cap_limit == 1000
    assert [(ref.kind, ref.metadata.name) for ref in spec.refs()] == [
        ("ScaledObject", "llm-scaler")
    ]
    assert spec.metrics[0].threshold == 800
    assert spec.rack_constraints[0].max_power == 500
    assert spec.rack_constraints[0].max_temperature == 35
    assert spec.mode == "Observe"
    assert (spec.thresholds.watch_ratio, spec.thresholds.restrict_ratio) == (0.8, 0.95)


def test_both_spellings_of_the_list_are_read():
    ref = {"metadata": {"name": "old"}}
    spec = parse(with_spec(scaledObjectRefs=[ref])).spec
    assert [one.metadata.name for one in spec.refs()] == ["llm-scaler", "old"]


def test_a_deployment_alone_is_a_target():
    spec = parse(with_spec(scaleObjectRef=None)).spec
    assert [(ref.kind, ref.metadata.name) for ref in spec.refs()] == [("Deployment", "llm")]


@pytest.mark.parametrize(
    ("text", "watts"), [("750W", 750), ("12.5kW", 12_500), ("1.2 MW", 1.2e6), ("9000", 9000)]
)
def test_power_may_be_text_with_a_unit(text, watts):
    assert parse(with_spec(powerCapLimit=text)).spec.power_cap_limit == pytest.approx(watts)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"powerCapLimit": "ten"}, 'spec.powerCapLimit: "ten" is not a power such as'),
        ({"powerCapLimit": 0}, "spec.powerCapLimit: input should be greater than 0, got 0"),
        ({"powerCapLimit": None}, "spec.powerCapLimit: is required."),
        ({"powerCap": 5}, "spec.powerCap: is not a known field."),
        (
            {"scaleObjectRef": None, "deploymentName": None},
            "spec: names no workload: give scaleObjectRef, targetSelectors or deploymentName.",
        ),
        (
            {"scaleObjectRef": [{"kind": "Job", "metadata": {"name": "x"}}]},
            "spec.scaleObjectRef.0.kind: input should be 'ScaledObject'",
        ),
        (
            {"scaleObjectRef": [{"metadata": {"name": "x"}, "minReplicas": 3, "maxReplicas": 2}]},
            "spec.scaleObjectRef.0.minReplicas: must not be above maxReplicas.",
        ),
        ({"thresholds": {"watchRatio": 0.97}}, "spec.thresholds.watchRatio: must be below"),
        ({"thresholds": {"watchRatio": 80}}, "spec.thresholds.watchRatio: input should be less"),
        (
            {"domains": [{"name": "a", "capWatts": 900}, {"name": "a", "capWatts": 900}]},
            "spec.domains: names must be unique.",
        ),
        (
            {"domains": [{"name": "a", "capWatts": 2000}]},
            "spec.domains: capWatts must not be above the parent's.",
        ),
        (
            {
                "domains": [
                    {"name": "a", "parent": "b", "capWatts": 9},
                    {"name": "b", "parent": "a", "capWatts": 9},
                ]
            },
            "spec.domains: each parent must be another domain of the list",
        ),
        (
            {"carbon": {"provider": {"type": "Static"}, "budget": {"grams": 1}}},
            "spec.carbon.provider.gramsPerKilowattHour: belongs to type Static",
        ),
        (
            {"placement": {"recirculationMatrix": [[1.0, 0.0]]}},
            "spec.placement.recirculationMatrix: must have one row and one column per",
        ),
        ({"freshness": {"staleAfterSeconds": 400}}, "spec.freshness.staleAfterSeconds: must be"),
        ({"metrics": [{"query": "x", "prometheusAddress": "p"}]}, "spec.metrics.0.prometheusAddre"),
    ],
)
def test_bad_input_gets_a_sentence_at_its_field(changes, problem):
    assert any(found.startswith(problem) for found in problems_of(with_spec(**changes)))


def test_all_problems_are_said_at_once():
    found = problems_of(with_spec(powerCapLimit="ten", thresholds={"watchRatio": 0.97}, colour=1))
    assert len(found) >= 3


def test_another_kind_or_version_is_refused():
    assert "apiVersion and kind must be" in problems_of({**ORIGINAL, "kind": "Other"})[0]


def test_the_committed_crd_and_reference_are_those_of_the_models():
    stale = [path for path, text in generated().items() if text_of(ROOT / path) != text]
    assert stale == [], "run python -m capper.api.generate"
