"""The `kubernetes` section of a serve file."""

import pytest
import yaml

from fleet.topology import Fleet
from headrace.config_errors import BadInputError
from headrace.serve_file import load_serve
from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind

POOL = {"kind": "InferencePool", "namespace": "llm", "name": "llama"}
SELECTOR = {"kind": "Selector", "namespace": "llm", "match_labels": {"app": "x"}, "ports": [8000]}


def loaded(tmp_path, **document):
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump({"ext_proc": {"port": 0}, **document}), encoding="utf-8")
    return load_serve(path)


def test_a_section_becomes_the_settings_of_the_source(tmp_path):
    section, fleet = loaded(tmp_path, kubernetes={"targets": [POOL, SELECTOR], "rack_label": "r"})
    assert fleet == Fleet(())
    assert section.kubernetes.settings() == KubernetesSettings(
        targets=(
            Target(kind=TargetKind.INFERENCE_POOL, namespace="llm", name="llama"),
            Target(
                kind=TargetKind.SELECTOR,
                namespace="llm",
                match_labels={"app": "x"},
                ports=(8000,),
            ),
        ),
        rack_label="r",
    )


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "fleet: is required unless there is a kubernetes section."),
        ({"fleet": "f.yaml", "kubernetes": {"targets": [POOL]}}, "fleet: must not be given beside"),
        ({"kubernetes": {"targets": []}}, "kubernetes.targets: "),
        ({"kubernetes": {"targets": [{**POOL, "kind": "Pool"}]}}, "kubernetes.targets.0.kind: "),
        ({"kubernetes": {"targets": [{**POOL, "name": ""}]}}, "name is required for kind"),
        ({"kubernetes": {"targets": [{**SELECTOR, "match_labels": {}}]}}, "match_labels is req"),
        ({"kubernetes": {"targets": [{**POOL, "match_labels": {"a": "b"}}]}}, "kind Selector only"),
        ({"kubernetes": {"targets": [{**SELECTOR, "ports": [0]}]}}, "targets.0.ports.0: "),
        (
            {"kubernetes": {"targets": [POOL], "default_accelerator": "TPU"}},
            "kubernetes.default_accelerator: must be one of A100",
        ),
    ],
)
def test_a_bad_section_is_told_by_field(tmp_path, document, said):
    with pytest.raises(BadInputError) as refused:
        loaded(tmp_path, **document)
    assert said in str(refused.value)
