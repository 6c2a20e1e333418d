"""The order of events does not matter: the view is that of a fresh list, always."""

from hypothesis import given
from hypothesis import strategies as st
from kube_objects import node, objective, ready_pod
from kubernetes_store import (
    LLAMA,
    NAMESPACE,
    identified,
    listed,
    llama_pool,
    pool_target,
    selects,
    settings_for,
)

from telemetry.fleet_source import RewriteRule, RewriteTarget, rewrite
from telemetry.kubernetes.endpoints import find
from telemetry.kubernetes.objects import Store, wanted
from telemetry.kubernetes.view import build_view

SETTINGS = settings_for(pool_target("pool"), pool_target("other"))
PRODUCTS = ("NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3", "strange")


def pods():
    return st.builds(
        _pod,
        st.integers(0, 4),
        st.integers(1, 4),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["", "n1", "n2"]),
        st.booleans(),
    )


def _pod(index, ip, ready, here, node_name, gone):
    labels = {"app": "llama" if here else "else", "pod-template-hash": "6c9f"}
    pod = ready_pod(
        NAMESPACE, f"p{index}", f"10.0.0.{ip}", labels=labels, node=node_name, ready=ready
    )
    if gone:
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return identified(pod)


def others():
    return st.one_of(
        st.builds(
            lambda name, ports, created: llama_pool(name, tuple(ports), created=created),
            st.sampled_from(["pool", "other"]),
            st.lists(st.sampled_from([8000, 8001]), min_size=1, max_size=2, unique=True),
            st.sampled_from(["2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]),
        ),
        st.builds(
            lambda name, product: identified(node(name, {"nvidia.com/gpu.product": product})),
            st.sampled_from(["n1", "n2"]),
            st.sampled_from(PRODUCTS),
        ),
        st.builds(
            lambda priority: identified(objective(NAMESPACE, "o", "pool", priority)),
            st.integers(-3, 3),
        ),
    )


def identity(obj):
    return obj["kind"], obj["metadata"]["name"]


histories = st.lists(st.tuples(st.one_of(pods(), others()), st.booleans()), max_size=25)


def composed(store):
    found = find(SETTINGS, store)
    served = {endpoint.address: LLAMA for endpoint in found.endpoints}
    return build_view(SETTINGS, store, found, served)


class Cluster:
    """The truth, and watches of it that see every change of their selection in order."""

    def __init__(self):
        self.objects = {}
        self.store = Store()
        self.queues = {}

    def change(self, obj, *, delete):
        before = self.objects.get(identity(obj))
        if delete:
            self.objects.pop(identity(obj), None)
        else:
            self.objects[identity(obj)] = obj
        for key, queue in self.queues.items():
            seen = before is not None and selects(key, before)
            sees = not delete and selects(key, obj)
            if sees:
                queue.append(("MODIFIED" if seen else "ADDED", obj))
            elif seen:
                queue.append(("DELETED", before))

    def begin_watches(self):
        keys = wanted(SETTINGS, self.store)
        for key in keys:
            if key not in self.queues:
                now = [obj for obj in self.objects.values() if selects(key, obj)]
                self.store.replace(key, now)
                self.queues[key] = []
        gone = [key for key in self.queues if key not in keys]
        for key in gone:
            del self.queues[key]
        self.store.forget(gone)

    def deliver(self, choice):
        """One event of one watch, whichever."""
        waiting = sorted(key for key, queue in self.queues.items() if queue)
        if waiting:
            key = waiting[choice % len(waiting)]
            self.store.apply(key, *self.queues[key].pop(0))
            self.begin_watches()
        return bool(waiting)


@given(histories, st.lists(st.integers(0, 99), max_size=60))
def test_however_watches_interleave_the_final_view_is_that_of_a_fresh_list(history, choices):
    cluster, choices = Cluster(), iter(choices)
    cluster.begin_watches()
    for obj, delete in history:
        cluster.change(obj, delete=delete)
        for choice in (next(choices, 0) % 3,):
            for _ in range(choice):
                cluster.deliver(next(choices, 0))
    while cluster.deliver(next(choices, 0)):
        pass
    assert composed(cluster.store) == composed(listed(SETTINGS, list(cluster.objects.values())))


@given(st.lists(pods(), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_a_list_does_not_matter(objects, random):
    unique = list({identity(obj): obj for obj in objects}.values())
    cluster = [llama_pool(), llama_pool("other", (8001,), created="2025-01-01T00:00:00Z"), *unique]
    shuffled = list(cluster)
    random.shuffle(shuffled)
    assert composed(listed(SETTINGS, cluster)) == composed(listed(SETTINGS, shuffled))


@given(histories)
def test_a_view_names_every_address_and_backend_once_and_ready_pods_only(history):
    objects = {identity(obj): obj for obj, _ in history}
    view = composed(listed(SETTINGS, list(objects.values())))
    replicas = list(view.fleet.replicas())
    addresses = [replica.address for replica in replicas]
    names = [backend.name for backend in view.fleet.backends]
    assert len(set(addresses)) == len(addresses)
    assert len(set(names)) == len(names)
    for replica in replicas:
        pod = objects["Pod", replica.pod]
        assert "deletionTimestamp" not in pod["metadata"]
        assert pod["status"]["conditions"][0]["status"] == "True"
        assert replica.address.startswith(pod["status"]["podIP"] + ":")


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.floats(0, 1, exclude_max=True, allow_nan=False),
)
def test_a_rewrite_takes_targets_that_have_a_share(weights, draw):
    targets = tuple(RewriteTarget(f"t{n}", weight) for n, weight in enumerate(weights))
    chosen = rewrite([RewriteRule(frozenset({"m"}), targets)], "m", draw=draw)
    if sum(weights) == 0:
        assert chosen == "m"
    else:
        assert dict(targets)[chosen] > 0
