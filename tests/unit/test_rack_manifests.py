"""The component of racks: one webhook and one sweeper that need no capper, and little rights."""

import argparse
from pathlib import Path

import pytest
from kustomize_subset import containers, documents, identity

from capper.racks.marks import OPT_IN_LABEL
from capper.racks.webhook import PATH
from headrace import sweep, webhook

FOLDER = Path(__file__).resolve().parents[2] / "k8s/components/rack-placement"
OBJECTS = {
    identity(obj): obj
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for obj in documents(path)
}
DEPLOYMENTS = [obj for obj in OBJECTS.values() if obj["kind"] == "Deployment"]


def of(kind, name, namespace="llm"):
    return OBJECTS[kind, namespace, name]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda obj: obj["metadata"]["name"])
def test_pods_have_no_rights_on_their_node_and_do_not_gate_themselves(deployment):
    template = deployment["spec"]["template"]
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    (container,) = containers(deployment)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert template["metadata"]["labels"][OPT_IN_LABEL] == "disabled"
    assert deployment["spec"]["selector"]["matchLabels"].items() <= (
        template["metadata"]["labels"].items()
    )


@pytest.mark.parametrize("command", [webhook, sweep])
def test_arguments_are_what_the_commands_take(command):
    name = command.__name__.rpartition(".")[2]
    (container,) = [one for obj in DEPLOYMENTS for one in containers(obj) if one["args"][0] == name]
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    given = parser.parse_args(container["args"][1:])
    ports = {port["containerPort"] for port in container["ports"]}
    assert getattr(given, "port", None) or given.metrics_port in ports


def test_the_registration_fails_open_and_leads_to_the_webhook():
    (hook,) = of("MutatingWebhookConfiguration", "headrace-racks", "")["webhooks"]
    assert (hook["failurePolicy"], hook["timeoutSeconds"], hook["sideEffects"]) == (
        *("Ignore", 2, "None"),
    )
    service = hook["clientConfig"]["service"]
    assert service["path"] == PATH
    ports = of("Service", service["name"], service["namespace"])["spec"]["ports"]
    assert service["port"] in {port["port"] for port in ports}
    assert hook["namespaceSelector"] == {"matchLabels": {OPT_IN_LABEL: "enabled"}}
    (policy,) = [
        obj
        for obj in OBJECTS.values()
        if obj["kind"] == "NetworkPolicy" and obj["metadata"]["name"] == "headrace-webhook"
    ]
    assert [{"port": service["port"]}] == policy["spec"]["ingress"][0]["ports"]


def test_the_webhook_has_no_rights_and_the_sweeper_has_few():
    assert (
        of("Deployment", "headrace-webhook")["spec"]["template"]["spec"][
            "automountServiceAccountToken"
        ]
        is False
    )
    rules = of("ClusterRole", "headrace-sweeper", "")["rules"]
    granted = {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {("pods", "list"), ("pods", "patch"), ("events", "create")}
    for obj in OBJECTS.values():
        if obj["kind"] == "RoleBinding":
            assert ("ClusterRole", "", obj["roleRef"]["name"]) in OBJECTS


def test_every_file_is_part_of_the_component():
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    named = {*kustomization["resources"], "kustomization.yaml"}
    assert named == {path.name for path in FOLDER.glob("*.yaml")}
