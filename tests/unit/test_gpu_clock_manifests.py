"""The component of GPU clocks: agents with the rights that they need, and who reaches them."""

import argparse
from pathlib import Path

import pytest
import yaml
from kustomize_subset import containers, documents, identity

from headrace import agent, tune
from headrace.agent_access import AgentAccessSection
from headrace.agent_file import load_agent
from headrace.tune_file import load_tune

K8S = Path(__file__).resolve().parents[2] / "k8s"
FOLDER, EXAMPLES = K8S / "components/gpu-clocks", K8S / "examples/gpu-clocks"


def objects_in(folder):
    return {
        identity(obj): obj
        for path in sorted(folder.glob("*.yaml"))
        if path.name not in {"kustomization.yaml", "capper.yaml"}
        for obj in documents(path)
    }


OBJECTS = objects_in(FOLDER)
(PATCH,) = documents(FOLDER / "capper.yaml")
DAEMONS = OBJECTS["DaemonSet", "llm", "headrace-agent"]
SPEC = DAEMONS["spec"]["template"]["spec"]


def written(folder, config_map):
    for name, text in config_map["data"].items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def given(command, container):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(container["args"][1:])


def test_agents_have_what_nvml_asks_for_and_nothing_more():
    (container,) = containers(DAEMONS)
    rights = container["securityContext"]
    assert rights["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert "privileged" not in rights
    assert rights["readOnlyRootFilesystem"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(SPEC)
    assert SPEC["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert SPEC["automountServiceAccountToken"] is False
    assert not [kind for kind, *_ in OBJECTS if "Role" in kind]
    paths = {one["hostPath"]["path"] for one in SPEC["volumes"] if "hostPath" in one}
    assert paths == {"/var/lib/headrace/clocks", "/var/lib/kubelet/pod-resources"}
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounts["/var/lib/kubelet/pod-resources"]["readOnly"]
    assert container["resources"]["limits"]["memory"]


def test_agents_see_every_board_and_take_none():
    (container,) = containers(DAEMONS)
    environ = {one["name"]: one.get("value") for one in container["env"]}
    assert environ["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert not [name for part in container["resources"].values() for name in part if "gpu" in name]
    assert "NODE_NAME" in environ


def test_the_agent_file_fits_mounts_ports_and_arguments(tmp_path):
    (container,) = containers(DAEMONS)
    settings = written(tmp_path, OBJECTS["ConfigMap", "llm", "headrace-agent"])
    section = load_agent(settings / "agent.yaml")
    mounts = [Path(one["mountPath"]) for one in container["volumeMounts"]]
    for path in (section.record_folder, section.kubelet_socket.parent, section.listen.tls.folder):
        assert path in mounts
    assert section.listen.tls.client_ca_file == section.listen.tls.folder / "ca.crt"
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {"grpc": section.listen.port, "metrics": section.metrics.port}
    assert container["args"][0] == "agent"
    assert given(agent, container).config == Path("/etc/headrace/agent.yaml")
    assert SPEC["terminationGracePeriodSeconds"] >= 10


def test_the_service_stands_for_every_agent_and_only_ours_may_call():
    service = OBJECTS["Service", "llm", "headrace-agent"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= DAEMONS["spec"]["template"]["metadata"]["labels"].items()
    policy = OBJECTS["NetworkPolicy", "llm", "headrace-agent"]["spec"]
    assert policy["egress"] == []
    callers = [
        one["podSelector"]["matchLabels"]
        for rule in policy["ingress"]
        if {"port": 9444} in rule["ports"]
        for one in rule["from"]
    ]
    assert callers == [{"app.kubernetes.io/part-of": "headrace"}]


def certificates():
    found = objects_in(EXAMPLES)
    return {
        obj["spec"]["secretName"]: obj["spec"]
        for (kind, *_), obj in found.items()
        if kind == "Certificate"
    }


def test_secrets_and_names_of_certificates_fit(tmp_path):
    signed = certificates()
    secrets = {one["secret"]["secretName"] for one in SPEC["volumes"] if "secret" in one}
    pod = PATCH["spec"]["template"]["spec"]
    secrets |= {one["secret"]["secretName"] for one in pod["volumes"]}
    assert secrets <= signed.keys()
    settings = written(tmp_path, OBJECTS["ConfigMap", "llm", "headrace-agent"])
    clients = load_agent(settings / "agent.yaml").listen.tls.clients
    assert signed["headrace-capper-tls"]["commonName"] in clients
    access = AgentAccessSection(agents=("a:1",), tls={"folder": "x"})
    assert access.tls.server_name in signed["headrace-agent-tls"]["dnsNames"]
    assert signed["headrace-agent-tls"]["commonName"] not in clients


def test_the_tuning_example_is_a_job_that_runs_and_gives_back(tmp_path):
    found = objects_in(EXAMPLES)
    section, _, backend = load_tune(
        written(tmp_path, found["ConfigMap", "llm", "headrace-tune"]) / "tune.yaml"
    )
    assert backend.name == "llama"
    job = found["CronJob", "llm", "headrace-tune"]["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = job["spec"]["containers"]
    assert container["args"][0] == "tune"
    assert given(tune, container).once
    mounts = [Path(one["mountPath"]) for one in container["volumeMounts"]]
    assert section.agents.tls.folder in mounts
    assert section.hold_seconds >= 86_400
    assert job["metadata"]["labels"]["app.kubernetes.io/part-of"] == "headrace"


@pytest.mark.parametrize("folder", [FOLDER, EXAMPLES])
def test_every_file_is_named(folder):
    (kustomization,) = documents(folder / "kustomization.yaml")
    named = {
        *kustomization["resources"],
        *(one["path"] for one in kustomization.get("patches", ())),
    }
    assert named == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"]
