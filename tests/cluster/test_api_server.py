"""What tests and product rely on of an API server: the same on the real one and in memory."""

import asyncio
import contextlib
import json

import pytest
from control_plane_assets import assets
from kube_cluster import Door, KubeApi, KubeError
from kube_discovery import until
from kube_objects import inference_pool, ready_pod
from kube_processes import in_memory_control_plane, real_control_plane


@pytest.fixture(scope="module", params=["kube-apiserver", "in-memory"])
def control_plane(request):
    if request.param == "in-memory":
        with in_memory_control_plane() as plane:
            yield plane
    elif (folder := assets()) is not None:
        with real_control_plane(folder) as plane:
            yield plane
    else:
        pytest.skip("no kube-apiserver and etcd here")


def config_map(namespace, name="c", data=None, **metadata):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "data": data or {},
    }


def scaled_object(namespace, **spec):
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"namespace": namespace, "name": "s"},
        "spec": {
            "scaleTargetRef": {"name": "d"},
            "triggers": [{"type": "cpu", "metadata": {"value": "50"}}],
            **spec,
        },
    }


@contextlib.asynccontextmanager
async def watching(kube, path, **query):
    """A list of (type, name) that grows."""
    seen = []

    async def read():
        session, base, tls = kube._session, kube._base, kube._ssl
        params = {"watch": "true", **query}
        async with session.get(base + path, params=params, ssl=tls) as answer:
            assert answer.status == 200
            try:
                async for line in answer.content:
                    event = json.loads(line)
                    obj = event["object"]
                    seen.append((event["type"], obj.get("metadata", {}).get("name"), obj))
            finally:
                if answer.connection is not None:
                    # TLS closes with a farewell, which would outlast the loop.
                    answer.connection.transport.abort()

    task = asyncio.create_task(read())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_write_against_an_old_version_is_a_conflict(kube, namespace):
    first = await kube.create(config_map(namespace, data={"a": "1"}))
    second = await kube.replace({**first, "data": {"a": "2"}})
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    with pytest.raises(KubeError) as refused:
        await kube.replace({**first, "data": {"a": "3"}})
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    with pytest.raises(KubeError) as refused:
        await kube.create(config_map(namespace))
    assert refused.value.reason == "AlreadyExists"


async def test_a_watch_tells_of_what_comes_into_view_and_leaves_it(kube, namespace):
    listed = await kube.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    version = listed["metadata"]["resourceVersion"]
    async with watching(kube, path, resourceVersion=version, labelSelector="x=1") as seen:
        await kube.create(config_map(namespace, "other"))
        obj = await kube.create(config_map(namespace, "c", labels={"x": "1"}))
        await kube.merge("v1", "ConfigMap", namespace, "c", {"data": {"k": "v"}})
        await kube.merge("v1", "ConfigMap", namespace, "c", {"metadata": {"labels": {"x": "2"}}})
        await until(lambda: len(seen) == 3)
    assert [event[:2] for event in seen] == [("ADDED", "c"), ("MODIFIED", "c"), ("DELETED", "c")]
    assert seen[0][2]["metadata"]["uid"] == obj["metadata"]["uid"]


async def test_a_watch_lasts_whole_seconds(kube, namespace):
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with pytest.raises(KubeError) as refused:
        await kube.request("GET", path, watch="true", timeoutSeconds="300.0")
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")


async def test_apply_conflicts_field_by_field_and_force_takes_the_field(kube, namespace):
    await kube.install_crds("keda")
    await kube.apply(scaled_object(namespace, maxReplicaCount=9, minReplicaCount=1), manager="git")
    cap = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"namespace": namespace, "name": "s"},
        "spec": {"maxReplicaCount": 4},
    }
    with pytest.raises(KubeError) as refused:
        await kube.apply(cap, manager="capper")
    assert refused.value.code == 409
    assert [cause["field"] for cause in refused.value.causes] == [".spec.maxReplicaCount"]
    assert 'conflict with "git"' in refused.value.causes[0]["message"]

    forced = await kube.apply(cap, manager="capper", force=True)
    assert (forced["spec"]["maxReplicaCount"], forced["spec"]["minReplicaCount"]) == (4, 1)
    owners = {
        entry["manager"]: entry["fieldsV1"]["f:spec"]
        for entry in forced["metadata"]["managedFields"]
    }
    assert list(owners["capper"]) == ["f:maxReplicaCount"]
    assert "f:maxReplicaCount" not in owners["git"]
    # What the owner no longer applies is removed; the others' fields stay.
    released = await kube.apply({**cap, "spec": {}}, manager="capper")
    assert "maxReplicaCount" not in released["spec"]
    assert released["spec"]["minReplicaCount"] == 1


async def test_an_update_takes_the_fields_that_it_changes(kube, namespace):
    await kube.install_crds("keda")
    await kube.apply(scaled_object(namespace, maxReplicaCount=9), manager="git")
    await kube.merge(
        "keda.sh/v1alpha1", "ScaledObject", namespace, "s", {"spec": {"maxReplicaCount": 5}}
    )
    with pytest.raises(KubeError) as refused:
        await kube.apply(scaled_object(namespace, maxReplicaCount=9), manager="git")
    assert [cause["field"] for cause in refused.value.causes] == [".spec.maxReplicaCount"]


async def test_a_custom_resource_is_pruned_defaulted_and_validated(kube, namespace):
    await kube.install_crds("gie")
    pool = inference_pool(namespace, "p", {"app": "llama"})
    pool["spec"]["unknown"] = 1
    made = await kube.create(pool)
    assert "unknown" not in made["spec"]
    assert made["spec"]["appProtocol"] == "http"
    assert made["spec"]["endpointPickerRef"]["failureMode"] == "FailClose"
    assert made["metadata"]["generation"] == 1
    with pytest.raises(KubeError) as refused:
        await kube.create(inference_pool(namespace, "q", {"app": "x"}, ports=(99999,)))
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    with pytest.raises(KubeError) as refused:
        await kube.merge(*_pool(namespace), {"spec": {"targetPorts": None}})
    assert refused.value.code == 422


async def test_status_is_a_subresource_and_moves_no_generation(kube, namespace):
    await kube.install_crds("gie")
    pool = await kube.create(inference_pool(namespace, "p", {"app": "llama"}))
    parents = [{"parentRef": {"name": "gw"}}]
    ignored = await kube.merge(*_pool(namespace), {"status": {"parents": parents}})
    assert "status" not in ignored
    written = await kube.set_status({**pool, "status": {"parents": parents}})
    assert len(written["status"]["parents"]) == 1
    assert written["metadata"]["generation"] == 1
    changed = await kube.merge(*_pool(namespace), {"spec": {"appProtocol": "kubernetes.io/h2c"}})
    assert changed["metadata"]["generation"] == 2
    assert len(changed["status"]["parents"]) == 1


async def test_scale_reads_and_writes_the_replicas(kube, namespace):
    labels = {"app": "d"}
    await kube.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": namespace, "name": "d"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        }
    )
    named = ("apps/v1", "Deployment", namespace, "d")
    assert (await kube.get(*named, subresource="scale"))["spec"]["replicas"] == 3
    await kube.merge(*named, {"spec": {"replicas": 5}}, subresource="scale")
    assert (await kube.get(*named))["spec"]["replicas"] == 5


async def test_finalizers_hold_an_object_until_they_are_gone(kube, namespace):
    await kube.create(config_map(namespace, finalizers=["example.org/hold"]))
    await kube.delete("v1", "ConfigMap", namespace, "c")
    held = await kube.get("v1", "ConfigMap", namespace, "c")
    assert held["metadata"]["deletionTimestamp"]
    await kube.merge("v1", "ConfigMap", namespace, "c", {"metadata": {"finalizers": None}})
    with pytest.raises(KubeError) as gone:
        await kube.get("v1", "ConfigMap", namespace, "c")
    assert gone.value.code == 404


async def test_a_pod_on_a_node_terminates_gracefully(kube, namespace):
    await kube.add_pod(ready_pod(namespace, "placed", "10.0.0.1", node="n1"))
    await kube.add_pod(ready_pod(namespace, "nowhere", "10.0.0.2"))
    for name in ("placed", "nowhere"):
        await kube.delete("v1", "Pod", namespace, name)
    left = await kube.list("v1", "Pod", namespace)
    assert [pod["metadata"]["name"] for pod in left] == ["placed"]
    assert left[0]["metadata"]["deletionTimestamp"]
    await kube.delete("v1", "Pod", namespace, "placed", grace_seconds=0)
    assert await kube.list("v1", "Pod", namespace) == []


async def test_scheduling_gates_only_go_and_allow_narrowing_meanwhile(kube, namespace):
    pod = ready_pod(namespace, "p", "10.0.0.1")
    pod["spec"]["schedulingGates"] = [{"name": "example.org/rack"}]
    made = await kube.create(pod)
    assert made["status"]["conditions"][0]["reason"] == "SchedulingGated"
    narrowed = {"nodeSelector": {"rack": "r1"}}
    await kube.merge("v1", "Pod", namespace, "p", {"spec": narrowed})
    await kube.merge("v1", "Pod", namespace, "p", {"spec": {"schedulingGates": None}})
    for refused in (
        {"schedulingGates": [{"name": "example.org/more"}]},
        {"nodeSelector": {"rack": "r2"}},
    ):
        with pytest.raises(KubeError) as error:
            await kube.merge("v1", "Pod", namespace, "p", {"spec": refused})
        assert error.value.code == 422


async def test_a_user_may_do_what_the_roles_say_and_nothing_else(control_plane, kube, namespace):
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    token = await kube.create_user([rule], namespace=namespace)
    async with KubeApi(control_plane, token=token) as limited:
        base = f"/api/v1/namespaces/{namespace}"
        for _ in range(200):  # the real authorizer learns of new roles by watching
            with contextlib.suppress(KubeError):
                listed = await limited.request("GET", f"{base}/pods")
                break
            await asyncio.sleep(0.05)
        assert listed["items"] == []
        for method, path in (("GET", f"{base}/secrets"), ("GET", "/api/v1/pods")):
            with pytest.raises(KubeError) as refused:
                await limited.request(method, path)
            assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    async with KubeApi(control_plane, token="unknown") as nobody:
        with pytest.raises(KubeError) as refused:
            await nobody.request("GET", "/api/v1/pods")
        assert refused.value.code == 401


async def test_lists_are_paged_and_can_bring_metadata_alone(kube, namespace):
    for number in range(5):
        await kube.create(config_map(namespace, f"c{number}"))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    first = await kube.request("GET", path, limit=3)
    token = first["metadata"]["continue"]
    second = await kube.request("GET", path, **{"limit": 3, "continue": token})
    names = [item["metadata"]["name"] for item in (*first["items"], *second["items"])]
    assert [name for name in names if name.startswith("c")] == [f"c{n}" for n in range(5)]
    form = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    async with kube._session.get(
        kube._base + path, headers={"Accept": form}, ssl=kube._ssl
    ) as answer:
        listed = await answer.json()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert "data" not in listed["items"][0]


async def test_a_door_that_is_shut_refuses_and_cuts(control_plane):
    door = Door(control_plane)
    await door.open()
    async with KubeApi(control_plane, port=door.port) as outside:
        assert await outside.request("GET", "/version")
        await door.shut()
        with pytest.raises(OSError, match=r"."):
            await outside.request("GET", "/version")
        await door.open()
        assert await outside.request("GET", "/version")
    await door.shut()


async def test_forgotten_history_is_gone(control_plane, kube, namespace):
    if control_plane.kind != "in-memory":
        pytest.skip("the real one compacts by the clock")
    first = await kube.create(config_map(namespace))
    await kube.create(config_map(namespace, "d"))
    control_plane.compact()
    await asyncio.sleep(0.1)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    version = first["metadata"]["resourceVersion"]
    async with watching(kube, path, resourceVersion=version) as seen:
        await until(lambda: seen)
    assert (seen[0][0], seen[0][2]["code"]) == ("ERROR", 410)


def _pool(namespace):
    return ("inference.networking.k8s.io/v1", "InferencePool", namespace, "p")
