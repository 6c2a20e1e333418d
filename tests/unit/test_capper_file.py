"""The `capper` section of the serve file: what is not said comes from where it runs."""

from pathlib import Path

import pytest

from headrace.capper_file import CapperClusterSection, CapperSection
from headrace.config_errors import BadInputError

URL = "http://prometheus:9090"


@pytest.mark.parametrize(
    ("fields", "environ", "followed", "lease"),
    [
        ({}, {}, (), "default"),
        ({}, {"NAMESPACE": "llm"}, ("llm",), "llm"),
        ({"namespaces": []}, {"NAMESPACE": "llm"}, (), "llm"),
        ({"namespaces": ["a", "b"]}, {"NAMESPACE": "llm"}, ("a", "b"), "llm"),
        ({"lease_namespace": "x"}, {"NAMESPACE": "llm"}, ("llm",), "x"),
    ],
)
def test_namespaces_are_the_pods_own_unless_said(fields, environ, followed, lease):
    section = CapperClusterSection.model_validate(fields)
    assert section.followed_in(environ) == followed
    assert section.lease_in(environ) == lease


def test_prometheus_is_asked_as_the_file_says(tmp_path: Path):
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    (tmp_path / "ca.crt").write_text("certificate", encoding="utf-8")
    section = CapperSection.model_validate(
        {
            "configs": ["cap.yaml"],
            "prometheus": {
                "timeout_seconds": 2,
                "headers": {"X-Scope-OrgID": "gpu"},
                "token_file": "token",
                "ca_file": "ca.crt",
                "host_ratio": 1.8,
            },
        }
    ).beside(tmp_path)
    access = section.prometheus.settings(URL, patience_seconds=5.0)
    assert access.headers == {"X-Scope-OrgID": "gpu", "Authorization": "Bearer s3cret"}
    assert access.ca_file == str(tmp_path / "ca.crt")
    assert (access.url, access.timeout_seconds, access.host_ratio) == (URL, 2.0, 1.8)


@pytest.mark.parametrize("field", ["token_file", "ca_file"])
def test_a_file_that_is_not_there_is_named_with_its_field(tmp_path: Path, field):
    section = CapperSection.model_validate({"configs": ["a"], "prometheus": {field: "gone"}})
    with pytest.raises(BadInputError) as refused:
        section.beside(tmp_path).prometheus.settings(URL, patience_seconds=5.0)
    assert f"capper.prometheus.{field}: {tmp_path / 'gone'} cannot be read" in str(refused.value)


@pytest.mark.parametrize(("patience", "waits"), [(5.0, 3.0), (1.0, 1.0)])
def test_an_answer_is_not_waited_for_longer_than_the_loop_waits(patience, waits):
    section = CapperSection.model_validate({"configs": ["a"]})
    assert section.prometheus.settings(URL, patience_seconds=patience).timeout_seconds == waits
