"""Requests, recommendations, conflicts and free GPUs, by hand-made objects."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from capper.decide.domains import DomainTree
from capper.decide.observation import TargetReading
from capper.decide.policy import TargetPolicy
from capper.decide.state import TargetState
from capper.decide.tuning import Freshness
from capper.decide.workload import view_target
from capper.vertical.conflicts import conflicts
from capper.vertical.fragmentation import Need, NodeRoom, fragments, rooms
from capper.vertical.host_share import HostRates, extra_watts, host_watts
from capper.vertical.recommendation import unsupported, vpa_of
from capper.vertical.requests import Requests, is_gpu, pod_requests, quantity
from headrace.main import main

GPU = "nvidia.com/gpu"
GIB = 1024.0**3
cores = st.floats(0.0, 256.0)
sizes = st.floats(0.0, 2048.0).map(lambda gibibytes: gibibytes * GIB)
asked = st.builds(Requests, cpu_cores=cores, memory_bytes=sizes)


def container(name="vllm", *, limits=None, **requests):
    return {"name": name, "resources": {"requests": requests, "limits": limits or {}}}


def vpa(mode=None, *, name="chat", policies=(), target=None, kind="Deployment"):
    spec = {"targetRef": {"kind": kind, "name": "chat"}}
    if mode is not None:
        spec["updatePolicy"] = {"updateMode": mode}
    if policies:
        spec["resourcePolicy"] = {"containerPolicies": list(policies)}
    status = {}
    if target is not None:
        told = [{"containerName": "vllm", "target": target}]
        status = {"recommendation": {"containerRecommendations": told}}
    return {"metadata": {"namespace": "llm", "name": name}, "spec": spec, "status": status}


# Requests


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("250m", 0.25), ("2", 2.0), (3, 3.0), ("1.5Gi", 1.5 * GIB), ("1e3", 1e3), ("1E", 1e18)),
        *(("128974848", 128974848.0), ("129M", 129e6), ("100k", 1e5), ("5n", 5e-9), (".5", 0.5)),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text, value):
    assert quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "-1", "1GiB", "abc", None, True, [], "1 Gi", "1e999"])
def test_what_is_no_quantity_is_none(text):
    assert quantity(text) is None


def test_a_pod_asks_for_its_containers_and_at_least_for_its_largest_init_container():
    spec = {
        "containers": [
            container(cpu="4", memory="16Gi", limits={GPU: "2"}),
            container("proxy", limits={"cpu": "500m", "memory": "1Gi"}),
        ],
        "initContainers": [
            container("fetch", cpu="1", memory="64Gi"),
            container("watch", cpu="250m") | {"restartPolicy": "Always"},
        ],
        "overhead": {"memory": "1Gi"},
    }
    found = pod_requests(spec)
    assert found.cpu_cores == 4.75, "a limit alone is the request; the sidecar stays"
    assert found.memory_bytes == 65 * GIB
    assert found.gpus == {GPU: 2}
    changed = pod_requests(spec, {"vllm": {"cpu": "1"}})
    assert changed.cpu_cores == 1.75


def test_slices_are_gpus_and_huge_pages_are_not():
    names = (GPU, "amd.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared")
    assert all(map(is_gpu, names))
    assert not any(map(is_gpu, ("cpu", "hugepages-2Mi", "example.com/gpu")))


# Host share


@given(asked, asked, st.integers(1, 5))
def test_the_extra_of_a_replica_is_what_its_requests_add(present, following, count):
    rates = HostRates(cpu_core_watts=5.0, memory_gibibyte_watts=0.3)
    extra = extra_watts([present] * count, following, rates)
    assert extra == pytest.approx(
        host_watts(following, rates) - host_watts(present, rates), abs=1e-6
    )
    assert extra_watts([following] * count, following, rates) == pytest.approx(0.0, abs=1e-6)
    assert extra_watts([], following, rates) == 0.0


@given(st.floats(1.0, 2000.0), st.floats(-3000.0, 3000.0), st.none() | st.floats(1.0, 2000.0))
def test_admission_reserves_the_next_replica_with_its_own_requests(measured, extra, declared):
    policy = TargetPolicy(ref="Deployment/llm/chat", replica_watts=declared)
    reading = TargetReading(
        spec_replicas=2,
        ready_replicas=2,
        watts=2 * measured,
        replica_watts_p95=measured,
        next_extra_watts=extra,
    )
    found = view_target(policy, reading, TargetState(), DomainTree(()), Freshness())
    assert found.watts == 2 * measured, "what is measured is not touched"
    if declared is not None:
        assert found.next_watts == declared
    else:
        assert found.next_watts == max(measured + extra, 0.5 * measured)


# Recommendations


def test_the_mode_and_the_controlled_resources_decide_what_is_set():
    told = {"cpu": "2", "memory": "8Gi"}
    assert vpa_of(vpa("Off", target=told)).requests() == {}
    assert vpa_of(vpa(target=told)).mode == "Recreate"
    assert vpa_of(vpa("Initial", target=told)).requests() == {"vllm": told}
    memory = {"containerName": "vllm", "controlledResources": ["memory"]}
    assert vpa_of(vpa(target=told, policies=[memory])).requests() == {"vllm": {"memory": "8Gi"}}
    off = {"containerName": "*", "mode": "Off"}
    assert vpa_of(vpa(target=told, policies=[off])).requests() == {}
    assert vpa_of(vpa(target=told, policies=[off, memory])).controlled() == {"memory"}
    assert vpa_of({"metadata": {"name": "x"}, "spec": {}}) is None


@pytest.mark.parametrize("field", ["controlledResources", "minAllowed", "maxAllowed"])
def test_gpus_are_refused_with_the_field_that_names_them(field):
    listed = ["cpu", GPU] if field == "controlledResources" else {GPU: "1"}
    [sentence] = unsupported(vpa(policies=[{"containerName": "*", field: listed}]))
    assert sentence == (
        f"VerticalPodAutoscaler chat: spec.resourcePolicy.containerPolicies[0].{field}: names"
        f" {GPU}; only cpu and memory are recommended and resized, GPUs of a running pod cannot"
        " change."
    )
    assert unsupported(vpa(target={"cpu": "1"})) == []


def test_headrace_check_refuses_a_file_with_a_vpa_on_gpus(tmp_path, capsys):
    path = tmp_path / "vpa.yaml"
    good = {"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", **vpa()}
    bad = {**good, **vpa(policies=[{"containerName": "*", "controlledResources": [GPU]}])}
    path.write_text(yaml.safe_dump(good))
    assert main(["check", str(path)]) == 0
    assert "VerticalPodAutoscaler chat" in capsys.readouterr().out
    path.write_text(yaml.safe_dump_all([good, bad]))
    assert main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{path} (document 2): VerticalPodAutoscaler chat: spec.resourcePolicy")


# Conflicts


def scaler(kind, name="scaler", *, on="cpu", target="chat"):
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}}
    if kind == "ScaledObject":
        spec["triggers"] = [{"type": "prometheus"}, {"type": on}]
    elif kind == "container":
        part = {"name": on, "container": "vllm"}
        spec["metrics"] = [{"type": "ContainerResource", "containerResource": part}]
    else:
        spec["metrics"] = [{"type": "Resource", "resource": {"name": on}}]
    return {"metadata": {"namespace": "llm", "name": name}, "spec": spec}


@pytest.mark.parametrize("kind", ["ScaledObject", "HorizontalPodAutoscaler", "container"])
def test_a_horizontal_autoscaler_on_a_metric_that_is_set_is_a_conflict(kind):
    found = scaler(kind)
    lists = ([found], []) if kind == "ScaledObject" else ([], [found])
    [sentence] = conflicts([vpa_of(vpa("Auto"))], *lists)
    assert "scaler scales Deployment/chat on cpu, whose requests" in sentence
    assert "VerticalPodAutoscaler chat (Auto) sets" in sentence


def test_what_is_no_conflict_is_not_told():
    one = vpa_of(vpa("Auto"))
    keda, made = scaler("ScaledObject"), scaler("HorizontalPodAutoscaler", "keda-hpa-scaler")
    assert conflicts([vpa_of(vpa("Off"))], [keda], []) == []
    assert conflicts([one], [scaler("ScaledObject", on="prometheus")], []) == []
    assert conflicts([one], [scaler("ScaledObject", target="other")], []) == []
    assert len(conflicts([one], [keda], [made])) == 1, "KEDA's own autoscaler is not told twice"
    memory = vpa_of(vpa(policies=[{"containerName": "*", "controlledResources": ["memory"]}]))
    assert conflicts([memory], [keda], []) == []
    assert len(conflicts([memory], [scaler("ScaledObject", on="memory")], [])) == 1


# Free GPUs


def node(name, *, gpus, cpu=64, memory=512, taken=(), labels=None, closed=False):
    total = {GPU: str(gpus), "cpu": str(cpu), "memory": f"{memory}Gi"}
    obj = {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"unschedulable": closed},
        "status": {"allocatable": total},
    }
    pods = [
        {
            "spec": {"nodeName": name, "containers": [container(**one)]},
            "status": {"phase": "Running"},
        }
        for one in taken
    ]
    return obj, pods


def need(gpus, *, cpu=8, memory=64, recommended=None, **selector):
    asked = Requests(cpu_cores=cpu, memory_bytes=memory * GIB, gpus={GPU: gpus})
    return Need(
        target="Deployment/chat",
        requests=asked,
        node_selector=selector,
        recommended=recommended,
    )


def free_on(*made):
    return rooms([obj for obj, _ in made], [pod for _, pods in made for pod in pods])


def test_what_ended_pods_and_closed_nodes_have_is_left_out():
    open_, pods = node("n1", gpus=8, taken=[{GPU: "4", "cpu": "10", "memory": "100Gi"}])
    ended = {"spec": pods[0]["spec"], "status": {"phase": "Succeeded"}}
    closed, _ = node("n2", gpus=8, closed=True)
    [room] = rooms([open_, closed], [*pods, ended])
    assert (room.name, room.free.gpus, room.free.cpu_cores) == ("n1", {GPU: 4}, 54.0)


def test_gpus_that_a_next_replica_fits_are_not_fragmented():
    assert fragments(free_on(node("n1", gpus=8)), [need(4)]) == []
    assert fragments(free_on(node("n1", gpus=2)), [need(4), need(2)]) == []


def test_too_few_gpus_are_told_with_what_would_fit():
    taken = [{GPU: "6", "cpu": "8", "memory": "64Gi"}]
    [found] = fragments(free_on(node("n1", gpus=8, taken=taken)), [need(4)])
    assert (found.node, found.resource, found.gpus) == ("n1", GPU, 2)
    assert "needs 4 GPUs a replica: a set-up with 2 a replica would fit" in found.suggestion


def test_cpu_or_memory_that_is_short_is_told_with_the_recommendation():
    taken = [{GPU: "4", "cpu": "60", "memory": "64Gi"}]
    room = free_on(node("n1", gpus=8, taken=taken))
    [found] = fragments(room, [need(4)])
    assert found.suggestion == (
        "Deployment/chat asks for 8 cores a replica, and 4 cores are left there: lower the request."
    )
    lower = Requests(cpu_cores=3.0, memory_bytes=64 * GIB, gpus={GPU: 4})
    [found] = fragments(room, [need(4, recommended=lower)])
    assert found.suggestion.endswith(
        "its VerticalPodAutoscaler recommends 3 cores, which would fit."
    )


def test_gpus_of_others_are_not_our_business():
    room = free_on(node("n1", gpus=1))
    assert fragments(room, [need(2, pool="big")]) == []
    assert fragments(room, [Need(target="t", requests=Requests(gpus={"amd.com/gpu": 8}))]) == []
    assert fragments(room, []) == []
    assert (
        len(fragments(free_on(node("n1", gpus=1, labels={"pool": "big"})), [need(2, pool="big")]))
        == 1
    )


@given(
    st.lists(st.tuples(st.integers(0, 8), cores), max_size=6),
    st.lists(st.tuples(st.integers(1, 8), cores), max_size=4),
)
def test_a_fragment_is_exactly_a_node_with_gpus_that_nothing_fits(there, wanted):
    nodes = [
        NodeRoom(name=f"n{at}", free=Requests(cpu_cores=cpu, memory_bytes=GIB, gpus={GPU: gpus}))
        for at, (gpus, cpu) in enumerate(there)
    ]
    needs = [
        Need(target="t", requests=Requests(cpu_cores=cpu, gpus={GPU: gpus})) for gpus, cpu in wanted
    ]
    lost = {
        node.name
        for node in nodes
        if node.free.gpus[GPU]
        and needs
        and not any(
            one.requests.gpus[GPU] <= node.free.gpus[GPU]
            and one.requests.cpu_cores <= node.free.cpu_cores
            for one in needs
        )
    }
    assert {one.node for one in fragments(nodes, needs)} == lost
