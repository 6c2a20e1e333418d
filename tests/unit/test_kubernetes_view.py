"""Objects of a cluster and the fleet that they come to."""

import pytest
from kube_objects import endpoint_slice, model_rewrite, node, objective, ready_pod
from kubernetes_store import (
    LLAMA,
    NAMESPACE,
    addresses,
    identified,
    llama_pool,
    pool_target,
    settings_for,
    view_of,
)

from telemetry.fleet_source import RewriteRule, RewriteTarget, rewrite
from telemetry.kubernetes.hardware import accelerator_of, max_running_requests, parameters_of
from telemetry.kubernetes.objects import NODES, Store
from telemetry.kubernetes.settings import ANNOTATION_PREFIX, Target, TargetKind
from telemetry.served_models import ServedModels

HASH = {"app": "llama", "pod-template-hash": "6c9f"}


def pod(name, ip, **changes):
    return identified(ready_pod(NAMESPACE, name, ip, **{"labels": HASH, **changes}))


def only_backend(view):
    (backend,) = view.fleet.backends
    return backend


def test_the_ready_pods_of_a_pool_are_its_replicas():
    view = view_of(
        settings_for(),
        [
            llama_pool(),
            pod("a", "10.0.0.1", node="n1"),
            pod("b", "10.0.0.2", ready=False),
            pod("c", "10.0.0.3", labels={"app": "other"}),
            identified({**node("n1", {"topology.kubernetes.io/rack": "r7"})}),
        ],
    )
    assert addresses(view) == ["10.0.0.1:8000"]
    backend = only_backend(view)
    replica = backend.replicas[0]
    assert backend.name == "llm/llama"
    assert (replica.pod, replica.namespace, replica.node) == ("a", "llm", "n1")
    assert (replica.domain, replica.models) == ("r7", ("llama-8b",))
    assert backend.parameters == 8e9


def test_a_terminating_pod_gets_nothing_new():
    leaving = pod("a", "10.0.0.1")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    view = view_of(settings_for(), [llama_pool(), leaving, pod("b", "10.0.0.2")])
    assert addresses(view) == ["10.0.0.2:8000"]


def test_each_port_of_a_pool_is_a_replica_and_they_share_the_boards():
    view = view_of(settings_for(), [llama_pool(ports=(8000, 8001)), pod("a", "fd00::7", gpus=4)])
    assert addresses(view) == ["[fd00::7]:8000", "[fd00::7]:8001"]
    assert only_backend(view).gpus_per_replica == 2


@pytest.mark.parametrize(
    ("labels", "accelerator"),
    [
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, "H100"),
        ({"nvidia.com/gpu.product": "NVIDIA-GH200-480GB"}, "NVIDIA-GH200-480GB"),
        ({"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}, "AMD_Instinct_MI300X_OAM"),
        ({}, "H100"),
    ],
)
def test_the_node_says_what_the_accelerator_is(labels, accelerator):
    view = view_of(
        settings_for(),
        [llama_pool(), pod("a", "10.0.0.1", node="n"), identified(node("n", labels))],
    )
    backend = only_backend(view)
    assert backend.accelerator == accelerator
    known = accelerator == "H100"
    assert any("taken for H100" in text for text in backend.profile.assumptions) is not known
    assert any("no prior" in text for text in view.problems) is not known


def test_one_owner_on_two_kinds_of_hardware_is_two_backends():
    nodes = [
        identified(node(name, {"nvidia.com/gpu.product": product}))
        for name, product in (("n1", "NVIDIA-A100-SXM4-80GB"), ("n2", "NVIDIA-H100-80GB-HBM3"))
    ]
    pods = [pod("a", "10.0.0.1", node="n1"), pod("b", "10.0.0.2", node="n2")]
    view = view_of(settings_for(), [llama_pool(), *pods, *nodes])
    assert [(each.name, each.accelerator) for each in view.fleet.backends] == [
        ("llm/llama@1xA100", "A100"),
        ("llm/llama@1xH100", "H100"),
    ]


def test_annotations_go_before_what_is_found_out():
    told = {
        "accelerator": "B200",
        "gpus-per-replica": "8",
        "parameters": "70e9",
        "max-running-requests": "64",
        "domain": "pdu-3",
        "models": "big, bigger",
        "ttft-seconds": "2.5",
        "tpot-seconds": "never",
    }
    annotations = {ANNOTATION_PREFIX + name: value for name, value in told.items()}
    view = view_of(
        settings_for(), [llama_pool(), pod("a", "10.0.0.1", annotations=annotations)], served={}
    )
    backend = only_backend(view)
    assert (backend.accelerator, backend.gpus_per_replica) == ("B200", 8)
    assert (backend.parameters, backend.max_running_requests) == (70e9, 64)
    assert backend.replicas[0].domain == "pdu-3"
    assert backend.replicas[0].models == ("big", "bigger")
    assert (backend.objective.ttft_seconds, backend.objective.tpot_seconds) == (2.5, 0.05)
    assert view.problems == (
        (
            "Pod llm/a: annotation headrace.climatik-project.ai/tpot-seconds: 'never' is not a "
            "number above 0 and is ignored."
        ),
    )


def test_a_replica_that_has_not_said_what_it_serves_is_left_out():
    objects = [llama_pool(), pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]
    served = {"10.0.0.2:8000": ServedModels(base=("llama-8b",), adapters=("sql",), root="x/y-7B")}
    view = view_of(settings_for(), objects, served)
    assert addresses(view) == ["10.0.0.2:8000"]
    assert view.served == served
    assert only_backend(view).replicas[0].models == ("llama-8b", "sql")


def test_endpoint_slices_say_which_endpoints_are_ready():
    target = Target(kind=TargetKind.SERVICE, namespace=NAMESPACE, name="llama")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": "llama"},
        "spec": {"selector": {"app": "llama"}},
    }
    slices = endpoint_slice(
        NAMESPACE,
        "llama-1",
        "llama",
        [
            ("10.0.0.1", "a", {"ready": True}),
            ("10.0.0.2", "b", {"ready": False}),
            ("10.0.0.3", "c", {"ready": True, "terminating": True}),
            ("10.0.0.4", "d", {}),
        ],
        ports=(("http", 8000), ("metrics", 9000)),
    )
    objects = [identified(service), identified(slices), pod("a", "10.0.0.1")]
    only_http = Target(kind=target.kind, namespace=NAMESPACE, name="llama", ports=(8000,))
    view = view_of(settings_for(only_http), objects)
    assert addresses(view) == ["10.0.0.1:8000", "10.0.0.4:8000"]
    assert {backend.name for backend in view.fleet.backends} == {"llm/replicas", "llm/llama"}
    assert len(addresses(view_of(settings_for(target), objects))) == 4


def test_kserve_services_are_their_own_backends():
    isvc = Target(kind=TargetKind.INFERENCE_SERVICE, namespace=NAMESPACE, name="qwen")
    llm = Target(kind=TargetKind.LLM_INFERENCE_SERVICE, namespace=NAMESPACE, name="llama")
    labels = {"serving.kserve.io/inferenceservice": "qwen"}
    workload = {
        "app.kubernetes.io/part-of": "llminferenceservice",
        "app.kubernetes.io/name": "llama",
        "app.kubernetes.io/component": "llminferenceservice-workload",
    }
    prefill = {**workload, "app.kubernetes.io/component": "llminferenceservice-workload-prefill"}
    view = view_of(
        settings_for(isvc, llm),
        [
            pod("q", "10.0.0.1", labels={**labels, "component": "predictor"}),
            pod("t", "10.0.0.2", labels={**labels, "component": "transformer"}),
            pod("l", "10.0.0.3", labels=workload),
            pod("p", "10.0.0.4", labels=prefill),
        ],
    )
    assert [(each.name, addresses_of(each)) for each in view.fleet.backends] == [
        ("llm/llama", ["10.0.0.3:8000"]),
        ("llm/qwen", ["10.0.0.1:8080"]),
    ]


def addresses_of(backend):
    return [replica.address for replica in backend.replicas]


def test_a_pod_of_two_pools_belongs_to_the_older():
    older = llama_pool("zulu", (8001,), created="2025-01-01T00:00:00Z")
    newer = llama_pool("alpha", (8000,), created="2026-01-01T00:00:00Z")
    targets = [pool_target("alpha"), pool_target("zulu")]
    for order in (targets, targets[::-1]):
        view = view_of(settings_for(*order), [older, newer, pod("a", "10.0.0.1")])
        assert addresses(view) == ["10.0.0.1:8001"]
        assert view.problems == (
            (
                "InferencePool llm/alpha and InferencePool llm/zulu both select a; "
                "InferencePool llm/zulu has them."
            ),
        )


def test_objectives_and_rewrites_of_the_pool_are_read():
    view = view_of(
        settings_for(),
        [
            llama_pool(),
            identified(objective(NAMESPACE, "batch", "pool", -1)),
            identified(objective(NAMESPACE, "chat", "pool", 10)),
            identified(objective(NAMESPACE, "elsewhere", "other", 5)),
            identified(
                model_rewrite(NAMESPACE, "new", "pool", [(["gpt"], [("young", 1)])]),
                created="2026-02-01T00:00:00Z",
            ),
            identified(
                model_rewrite(
                    NAMESPACE, "old", "pool", [([], [("any", 1)]), (["gpt"], [("a", 9), ("b", 1)])]
                )
            ),
        ],
    )
    assert view.priorities == {"batch": -1, "chat": 10}
    assert [rule.targets[0].model for rule in view.rewrites] == ["any", "a", "young"]
    assert rewrite(view.rewrites, "gpt", draw=0.89) == "a"
    assert rewrite(view.rewrites, "gpt", draw=0.91) == "b"
    assert rewrite(view.rewrites, "llama", draw=0.5) == "any"


def test_without_a_rule_a_model_keeps_its_name():
    only = RewriteRule(frozenset({"a"}), (RewriteTarget("b", 0),))
    assert rewrite((), "a", draw=0.5) == "a"
    assert rewrite((only,), "c", draw=0.5) == "c"
    assert rewrite((only,), "a", draw=0.5) == "a"  # no target has a share


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("google/gemma-3-270m", None),
        ("/mnt/models", None),
        ("qwen2.5-0.5b", 0.5e9),
    ],
)
def test_a_model_name_may_tell_its_size(name, parameters):
    assert parameters_of((name,)) == parameters


def test_the_engine_arguments_tell_the_batch_limit():
    for args in (["--max-num-seqs", "64"], ["--max-num-seqs=64"], ["-c", "vllm --max-num-seqs 64"]):
        assert max_running_requests({"spec": {"containers": [{"args": args}]}}) == 64
    assert max_running_requests({"spec": {"containers": [{"args": ["--max-num-seqs"]}]}}) is None


def test_an_accelerator_is_a_whole_word_of_the_product():
    assert accelerator_of("NVIDIA-L40S") == "L40S"
    assert accelerator_of("NVIDIA L40") == "NVIDIA L40"


def test_what_is_missing_is_said_in_a_sentence():
    view = view_of(settings_for(), [])
    assert (view.fleet.backends, view.problems) == ((), ("InferencePool llm/pool does not exist.",))
    mystery = {"10.0.0.1:8000": ServedModels(base=("m",), root="/mnt/models")}
    view = view_of(settings_for(), [llama_pool(), pod("a", "10.0.0.1")], mystery)
    assert view.problems == (
        (
            "Backend llm/llama: the name of its model does not tell its size; 8e+09 parameters are "
            "assumed."
        ),
    )
    assert LLAMA.names() == ("llama-8b",)


def test_a_pool_of_the_api_before_v1_is_read():
    old = {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
        "kind": "InferencePool",
        "metadata": {"namespace": NAMESPACE, "name": "pool"},
        "spec": {"selector": {"app": "llama"}, "targetPortNumber": 8200},
    }
    group = "inference.networking.x-k8s.io"
    target = Target(kind=TargetKind.INFERENCE_POOL, namespace=NAMESPACE, name="pool", group=group)
    view = view_of(settings_for(target), [identified(old), pod("a", "10.0.0.1")])
    assert addresses(view) == ["10.0.0.1:8200"]


def test_two_pods_of_one_address_are_one_replica():
    pods = [pod("b", "10.0.0.1"), pod("a", "10.0.0.1")]
    view = view_of(settings_for(), [llama_pool(), *pods])
    assert only_backend(view).replicas[0].pod == "a"
    assert view.problems == ("Pods a and b in llm have one address 10.0.0.1:8000; a is served.",)


def test_what_writes_itself_anew_all_the_time_is_no_change():
    store = Store()
    first = identified(node("n", {"rack": "r1"}))
    first["status"] = {"heartbeat": 1}
    assert store.replace(NODES, [first])
    again = {**first, "metadata": {**first["metadata"], "resourceVersion": "9"}}
    assert not store.replace(NODES, [again])
    assert not store.apply(NODES, "MODIFIED", {**again, "status": {"heartbeat": 2}})
    moved = {**first, "metadata": {**first["metadata"], "labels": {"rack": "r2"}}}
    assert store.apply(NODES, "MODIFIED", moved)
    assert store.apply(NODES, "DELETED", moved)
    assert not store.apply(NODES, "DELETED", moved)
