"""The manifests in k8s/: what they render to holds together, and is as safe as the guide says."""

import argparse
import re
from pathlib import Path

import pytest
from kustomize_subset import (
    containers,
    documents,
    identity,
    kustomize_command,
    rendered,
    rendered_by_kustomize,
)

from capper.api import KIND as CONFIG
from capper.api.files import parse
from capper.operator.permissions import PERMISSIONS
from headrace.epp import add_arguments, serve_section
from headrace.epp_flags import go_spelling
from headrace.main import main

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
KUSTOMIZATIONS = sorted(path.parent for path in K8S.rglob("kustomization.yaml"))
# Asked for by hand alone; tests/cluster/test_install_rights.py puts it to work.
# The second has its tests in tests/unit/test_rack_manifests.py.
IN_NO_OVERLAY = {
    "components/emergency-eviction",
    "components/rack-placement",
    "components/secret-keys",
    "components/grid-egress",
    "components/vertical",
    "components/gpu-clocks",
}
COMPONENTS = [path for path in KUSTOMIZATIONS if path.parent.name == "components"]
BUILDS = [path for path in KUSTOMIZATIONS if path not in COMPONENTS]
OVERLAYS = [path for path in BUILDS if path.parent.name == "overlays"]
WHOLE = [K8S / "base", *OVERLAYS]
LOOKING = {"get", "list", "watch"}


def short(path):
    return str(path.relative_to(K8S))


def of_kind(objects, *kinds):
    return [obj for obj in objects.values() if obj["kind"] in kinds]


def ours(objects):
    return [
        one for obj in objects.values() for one in containers(obj) if "headrace" in one["image"]
    ]


@pytest.mark.parametrize("folder", BUILDS, ids=short)
def test_the_subset_renders_what_kustomize_renders(folder):
    if kustomize_command() is None:
        pytest.skip("neither kustomize nor kubectl on PATH")
    assert rendered(folder) == rendered_by_kustomize(folder)


def test_every_file_is_part_of_a_build():
    used = set()
    for folder in KUSTOMIZATIONS:
        (kustomization,) = documents(folder / "kustomization.yaml")
        used.add(folder / "kustomization.yaml")
        names = [*kustomization.get("resources", ()), *kustomization.get("components", ())]
        names += [patch["path"] for patch in kustomization.get("patches", ())]
        used |= {(folder / name).resolve() for name in names}
    files = set(K8S.rglob("*.yaml")) - set((K8S / "examples").glob("*.yaml"))
    assert {short(path) for path in files - used} == set()
    assert {short(path) for path in COMPONENTS if path not in used} == IN_NO_OVERLAY


@pytest.mark.parametrize("folder", WHOLE, ids=short)
def test_our_pods_have_no_rights_on_their_node(folder):
    objects = rendered(folder)
    for obj in of_kind(objects, "Deployment"):
        spec = obj["spec"]["template"]["spec"]
        mine = [one for one in spec["containers"] if "headrace" in one["image"]]
        if not mine:
            continue
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
        for container in mine:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            seconds = int(re.search(r"--drain-timeout=(\d+)s", " ".join(container["args"]))[1])
            assert spec["terminationGracePeriodSeconds"] > seconds


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(go_spelling(arguments))


@pytest.mark.parametrize("folder", WHOLE, ids=short)
def test_arguments_and_settings_are_what_the_command_takes(folder, tmp_path, monkeypatch):
    objects = rendered(folder)
    text = objects["ConfigMap", "llm", "headrace-settings"]["data"]["settings.yaml"]
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    (container,) = ours(objects)
    given = {one["name"]: one.get("value") for one in container["env"]}
    arguments = [*container.get("args", ["epp", "--pool-name=llama-inference-pool"])]
    assert arguments.pop(0) == "epp"
    named = [one for one in arguments if one.startswith("--settings=")]
    assert [given.get("HEADRACE_SETTINGS"), *(one.partition("=")[2] for one in named)].count(
        "/etc/headrace/settings.yaml"
    ) == 1
    assert "NAMESPACE" in given, "by the downward API"
    environ = {"NAMESPACE": "llm", "HEADRACE_SETTINGS": str(path)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    section = serve_section(parsed(*(one for one in arguments if one not in named)))
    assert section.capper.kubernetes.followed_in(environ) == ("llm",)
    assert section.capper.kubernetes.lease_in(environ) == "llm"
    assert (section.ext_proc.port, section.ext_proc.health_port, section.admin.port) == (
        *(9002, 9003, 9090),
    )
    lease = next(obj for key, obj in objects.items() if key[2] == "headrace-lease")
    assert [section.capper.kubernetes.lease_name] in [
        rule.get("resourceNames") for rule in lease["rules"]
    ]


def test_the_settings_flag_goes_before_the_variable(tmp_path, monkeypatch):
    for name in ("round-robin", "dispatch"):
        (tmp_path / name).write_text(f"router: {{policy: {name}}}", encoding="utf-8")
    monkeypatch.setenv("HEADRACE_SETTINGS", str(tmp_path / "round-robin"))
    pool = "--pool-name=llama"
    assert serve_section(parsed(pool)).router.policy == "round-robin"
    flag = f"--settings={tmp_path / 'dispatch'}"
    assert serve_section(parsed(pool, flag)).router.policy == "dispatch"


@pytest.mark.parametrize("folder", WHOLE, ids=short)
def test_every_image_is_pinned_by_a_version(folder):
    images = {one["image"] for obj in rendered(folder).values() for one in containers(obj)}
    assert all(re.search(r":v?\d+\.\d+\.\d+$|@sha256:", image) for image in images), images


@pytest.mark.parametrize("folder", WHOLE, ids=short)
def test_references_lead_to_something_in_the_same_build(folder):
    objects = rendered(folder)
    there = {(obj["kind"], obj["metadata"]["name"]) for obj in objects.values()}
    wanted = set()
    for obj in objects.values():
        wanted |= set(references(obj))
    assert wanted - there == set()


def references(obj):
    """(kind, name) of what an object leans on."""
    find = REFERENCES.get(obj["kind"])
    return () if find is None else find(obj)


def of_binding(obj):
    return [(one["kind"], one["name"]) for one in (obj["roleRef"], *obj["subjects"])]


def of_pod(pod):
    maps = [one["configMap"]["name"] for one in pod.get("volumes", ()) if "configMap" in one]
    account = pod.get("serviceAccountName")
    return [("ConfigMap", name) for name in maps] + [("ServiceAccount", account)] * bool(account)


def of_route(obj):
    backends = [one for rule in obj["spec"]["rules"] for one in rule["backendRefs"]]
    gateways = [("Gateway", one["name"]) for one in obj["spec"]["parentRefs"]]
    return [(one["kind"], one["name"]) for one in backends] + gateways


def of_scaled_object(obj):
    external = [one for one in obj["spec"]["triggers"] if one["type"] == "external"]
    services = [one["metadata"]["scalerAddress"].split(".")[0] for one in external]
    target = obj["spec"]["scaleTargetRef"]["name"]
    return [("Deployment", target), *(("Service", name) for name in services)]


def of_config(obj):
    refs = obj["spec"].get("scaleObjectRef", ())
    return [(one.get("kind", "ScaledObject"), one["metadata"]["name"]) for one in refs]


REFERENCES = {
    "RoleBinding": of_binding,
    "ClusterRoleBinding": of_binding,
    "Deployment": lambda obj: of_pod(obj["spec"]["template"]["spec"]),
    "InferencePool": lambda obj: [("Service", obj["spec"]["endpointPickerRef"]["name"])],
    "HTTPRoute": of_route,
    "ScaledObject": of_scaled_object,
    "LLMInferenceService": lambda obj: of_pod(obj["spec"]["router"]["scheduler"]["template"]),
    CONFIG: of_config,
}


@pytest.mark.parametrize("folder", WHOLE, ids=short)
def test_ports_that_are_named_are_open_and_selectors_find_pods(folder):
    objects = rendered(folder)
    pods = [obj["spec"]["template"] for obj in of_kind(objects, "Deployment")]
    for obj in of_kind(objects, "Service"):
        (pod,) = selected(pods, obj["spec"]["selector"])
        open_ports = {port["name"] for one in pod["spec"]["containers"] for port in one["ports"]}
        assert {port["targetPort"] for port in obj["spec"]["ports"]} <= open_ports
    for obj in of_kind(objects, "InferencePool"):
        (pod,) = selected(pods, obj["spec"]["selector"]["matchLabels"])
        numbers = {port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["number"] for port in obj["spec"]["targetPorts"]} <= numbers
        ref = obj["spec"]["endpointPickerRef"]
        service = next(
            o for o in of_kind(objects, "Service") if o["metadata"]["name"] == ref["name"]
        )
        assert ref["port"]["number"] in {port["port"] for port in service["spec"]["ports"]}
    for obj in of_kind(objects, "PodDisruptionBudget"):
        assert selected(pods, obj["spec"]["selector"]["matchLabels"])


def selected(pods, labels):
    return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]


@pytest.mark.parametrize("folder", WHOLE, ids=short)
def test_a_network_policy_lets_every_service_be_reached(folder):
    objects = rendered(folder)
    for policy in of_kind(objects, "NetworkPolicy"):
        let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        chosen = policy["spec"]["podSelector"]["matchLabels"]
        for service in of_kind(objects, "Service"):
            if service["spec"]["selector"] == chosen:
                assert {port["port"] for port in service["spec"]["ports"]} <= let_in


def rules(objects):
    for obj in of_kind(objects, "ClusterRole", "Role"):
        for rule in obj["rules"]:
            yield obj["metadata"]["name"], rule


def test_the_cappers_roles_are_the_table_of_its_permissions():
    """The table is compared with the requests that are made: tests/cluster/."""
    files = [K8S / "rbac/capper-role.yaml", K8S / "rbac/lease-role.yaml"]
    files += [K8S / f"components/{name}/role.yaml" for name in ("enforce", "kserve")]
    more = ("kserve-enforce", "emergency-eviction", "rack-placement", "vertical")
    files += [K8S / f"components/{name}/role.yaml" for name in more]
    objects = {identity(obj): obj for path in files for obj in documents(path)}
    for obj in documents(K8S / "rbac/router-role.yaml"):
        if obj["metadata"]["name"] == "headrace-nodes":  # shared with the router
            objects[identity(obj)] = obj
    shipped = {
        (group, resource, verb)
        for _, rule in rules(objects)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert shipped == {(one.group, one.resource, verb) for one in PERMISSIONS for verb in one.verbs}


def test_only_node_labels_are_read_beyond_the_namespace():
    for folder in WHOLE:
        bindings = of_kind(rendered(folder), "ClusterRoleBinding")
        assert [obj["roleRef"]["name"] for obj in bindings] == ["headrace-nodes"]


@pytest.mark.parametrize("folder", OVERLAYS, ids=short)
def test_a_first_configuration_changes_nothing(folder):
    configs = of_kind(rendered(folder), CONFIG)
    assert configs
    for config in configs:
        assert parse(config).spec.mode in {"Observe", "Recommend"}


def test_headrace_check_finds_nothing_wrong(capsys):
    files = [
        path
        for path in sorted(K8S.rglob("*.yaml"))
        if "crds" not in path.parts and any(one["kind"] == CONFIG for one in documents(path))
    ]
    assert len(files) >= len(OVERLAYS) + 3
    assert main(["check", *map(str, files)]) == 0
    assert capsys.readouterr().err == ""


def test_another_namespace_takes_the_place_of_the_one_that_is_written():
    objects = rendered(K8S / "overlays/observe-only", namespace="chat")
    assert {key[1] for key in objects} == {"", "chat"}
    assert ("Namespace", "", "chat") in objects
    subjects = [one for obj in objects.values() for one in obj.get("subjects", ())]
    assert {one["namespace"] for one in subjects} == {"chat"}
    assert all(identity(obj) == key for key, obj in objects.items())
    # kustomize moves subjects only along with an account that names its namespace itself.
    (account,) = documents(K8S / "rbac/service-account.yaml")
    assert account["metadata"]["namespace"] == "llm"
