"""The installation page and the user guide say what is there."""

import re

import pytest
from docs_tables import rows
from guide_pages import PAGES, ROOT, blocks, commands, objects
from kustomize_subset import documents, kustomize_command, rendered, rendered_by_kustomize

from capper.api import KIND
from capper.api.files import parse
from headrace.main import main

K8S = ROOT / "k8s"


def named(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_configuration_of_a_page_is_valid(page):
    for obj in objects(page):
        if obj["kind"] == KIND:
            assert parse(obj).metadata.namespace == "llm"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_of_a_page_exists(page):
    text = "\n".join([*blocks(page, "sh"), *blocks(page, "")])
    for path in re.findall(r"\bk8s/[\w./-]+", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_of_headrace_runs(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for line in commands(page):
        if line.startswith("headrace "):
            assert main(line.split()[1:]) == 0, capsys.readouterr().err


def test_the_guide_has_commands_and_files_to_try():
    assert sum(len(commands(page)) for page in PAGES) > 15
    assert sum(len(objects(page)) for page in PAGES) > 8


@pytest.fixture
def own_overlay(tmp_path):
    """The folder that the installation page has its reader write."""
    (tmp_path / "k8s").symlink_to(K8S)
    for block in blocks(ROOT / "docs/install.md", "yaml"):
        name = re.match(r"# ([\w.]+)\n", block)[1]
        (tmp_path / name).write_text(block, encoding="utf-8")
    return tmp_path


def test_an_overlay_of_ones_own_has_its_namespace_image_and_settings(own_overlay):
    found = rendered(own_overlay)
    assert {key[1] for key in found} == {"", "chat"}
    deployment = found["Deployment", "chat", "headrace"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.internal.example.com/ai/headrace:0.1.0"
    assert deployment["spec"]["replicas"] == 2
    assert ("Service", "chat", "headrace-external-scaler") in found, "both replicas answer KEDA"
    settings = found["ConfigMap", "chat", "headrace-settings"]["data"]["settings.yaml"]
    assert "kubernetes: {}" in settings, "what is not said is of the pod's own namespace"
    if kustomize_command() is not None:
        assert found == rendered_by_kustomize(own_overlay)


@pytest.mark.parametrize("kind", ["components", "overlays"])
def test_the_installation_page_names_every_component_and_overlay(kind):
    listed = {row.name for row in rows("install.md") if row.name.startswith(f"k8s/{kind}/")}
    assert listed == {f"k8s/{kind}/{path.name}" for path in (K8S / kind).iterdir()}


def test_the_installation_page_names_every_role():
    text = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    section = text.split("## Rights")[1].split("\n## ")[0]
    found = {
        obj["metadata"]["name"]
        for path in (K8S / "overlays").iterdir()
        for obj in rendered(path).values()
        if obj["kind"] in {"Role", "ClusterRole"}
    }
    found |= {
        obj["metadata"]["name"]
        for path in (K8S / "components").glob("*/role.yaml")
        for obj in documents(path)
        if obj["kind"] in {"Role", "ClusterRole"}
    }
    assert set(re.findall(r"`(headrace-[a-z-]+)`", section)) == found
