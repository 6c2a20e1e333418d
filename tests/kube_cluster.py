"""A control plane for tests: real kube-apiserver and etcd where they are, else the in-memory one.

The fixtures are in tests/cluster/conftest.py:

- `kube`: a `KubeApi` of an administrator, with plain dictionaries as objects.
- `namespace`: a fresh one for each test.
- `door`: a way to the server that can be shut, as when the API server is gone.
- `kubeconfig(token)`: a file for clients and kopf, through the door. `kube.create_user(rules)`
  gives the token of a user who may do exactly what the rules say, so that roles can be tested.
- `needs_real_api_server`: skips a test on the in-memory server (CEL rules, admission).

No scheduler, kubelet or controller runs on either: a test plays those parts itself (`ready_pod`,
`KubeApi.set_status`), and what it creates stays until it deletes it.
"""

import asyncio
import contextlib
import functools
import json
import os
import ssl
import uuid
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

USERS = 40  # tokens are read once at start, so a session has this many to give away
ADMIN_TOKEN = "admin-token"


def tokens():
    """Token -> (user, groups) of every server that tests start."""
    users = {f"token-{n}": (f"user-{n}", ["system:authenticated"]) for n in range(USERS)}
    return {ADMIN_TOKEN: ("admin", ["system:masters", "system:authenticated"]), **users}


def crd_folder():
    """The CRDs of other projects, beside the shared data."""
    data = os.environ.get("HEADRACE_DATA")
    root = Path(__file__).resolve().parents[2] / "shared"
    return (Path(data).parent if data else root) / "crds"


@functools.cache
def definitions(file):
    """The CRDs of a file; some are of many thousand lines."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = list(yaml.load_all(file.read_text(encoding="utf-8"), loader))
    return [one for one in documents if one and one["kind"] == "CustomResourceDefinition"]


@dataclass(frozen=True)
class ControlPlane:
    """A running API server.

    Attributes:
        kind: "kube-apiserver" or "in-memory".
        compact: Forgets the history of changes, so that old watches get 410 Gone.
    """

    kind: str
    version: str
    port: int
    ca_file: Path | None
    compact: object

    @property
    def scheme(self):
        return "https" if self.ca_file else "http"


class KubeError(Exception):
    """The API server said no."""

    def __init__(self, code, status):
        super().__init__(f"{code} {status.get('reason')}: {status.get('message')}")
        self.code = code
        self.reason = status.get("reason")
        self.causes = status.get("details", {}).get("causes", [])


class KubeApi:
    """The API with plain dictionaries. Use as an asynchronous context."""

    _users = iter(range(USERS))

    def __init__(self, plane, *, token=ADMIN_TOKEN, port=None):
        self._base = f"{plane.scheme}://127.0.0.1:{port or plane.port}"
        self._ssl = ssl.create_default_context(cafile=plane.ca_file) if plane.ca_file else False
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "tests/1"}
        self._plurals = {}
        self._session = None

    async def __aenter__(self):
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(self, *_error):
        await self._session.close()

    async def request(self, method, path, body=None, *, content_type="application/json", **query):
        async with self._session.request(
            method,
            self._base + path,
            params={key: str(value) for key, value in query.items()},
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            ssl=self._ssl,
        ) as answer:
            text = await answer.text()
            if not text.startswith("{"):  # a path that is not served at all
                raise KubeError(answer.status, {"reason": "NotFound", "message": text})
            found = json.loads(text)
            if answer.status >= 400:
                raise KubeError(answer.status, found)
            return found

    async def create(self, obj):
        path = await self._path(obj["apiVersion"], obj["kind"], _namespace(obj))
        return await self.request("POST", path, obj)

    async def get(self, api_version, kind, namespace, name, *, subresource=""):
        path = await self._path(api_version, kind, namespace, name, subresource)
        return await self.request("GET", path)

    async def list(self, api_version, kind, namespace=None, *, label_selector=""):
        path = await self._path(api_version, kind, namespace)
        found = await self.request("GET", path, labelSelector=label_selector)
        return found["items"]

    async def apply(self, obj, *, manager, force=False, subresource=""):
        path = await self._path(
            obj["apiVersion"], obj["kind"], _namespace(obj), obj["metadata"]["name"], subresource
        )
        return await self.request(
            "PATCH",
            path,
            obj,
            content_type="application/apply-patch+yaml",
            fieldManager=manager,
            force=str(force).lower(),
        )

    async def merge(self, api_version, kind, namespace, name, patch, *, subresource=""):
        path = await self._path(api_version, kind, namespace, name, subresource)
        return await self.request("PATCH", path, patch, content_type="application/merge-patch+json")

    async def replace(self, obj, *, subresource=""):
        path = await self._path(
            obj["apiVersion"], obj["kind"], _namespace(obj), obj["metadata"]["name"], subresource
        )
        return await self.request("PUT", path, obj)

    async def set_status(self, obj):
        """Write the status of an object, whatever its version."""
        metadata = obj["metadata"]
        patch = {"status": obj["status"]}
        return await self.merge(
            obj["apiVersion"],
            obj["kind"],
            metadata.get("namespace"),
            metadata["name"],
            patch,
            subresource="status",
        )

    async def delete(self, api_version, kind, namespace, name, *, grace_seconds=None):
        path = await self._path(api_version, kind, namespace, name)
        body = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        return await self.request("DELETE", path, body)

    async def add_pod(self, pod):
        """Create a pod and give it its status, as scheduler and kubelet would."""
        await self.create(pod)
        return await self.set_status(pod)

    async def install_crds(self, *folders):
        """Install the CRDs of folders of the shared ones; skips the test when they are absent."""
        for folder in folders:
            path = crd_folder() / folder
            if not path.is_dir():
                pytest.skip(f"no CRDs in {path}")
            for file in sorted(path.glob("*.yaml")):
                for document in definitions(file):
                    await self.install_crd(document)

    async def install_crd(self, crd):
        """Install one CRD, and wait until it is served; one that is there already stays."""
        try:
            await self.get(crd["apiVersion"], crd["kind"], None, crd["metadata"]["name"])
        except KubeError:
            pass
        else:
            return
        try:
            await self.create(crd)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise
        spec = crd["spec"]
        version = next(v["name"] for v in spec["versions"] if v["served"])
        base = f"/apis/{spec['group']}/{version}"
        for _ in range(300):  # the list is served a moment before discovery tells of it
            with contextlib.suppress(KubeError):
                kinds = {each["kind"] for each in (await self.request("GET", base))["resources"]}
                await self.request("GET", f"{base}/{spec['names']['plural']}", limit=1)
                if spec["names"]["kind"] in kinds:
                    await self._settled(crd)
                    return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{crd['metadata']['name']} is not served")

    async def _settled(self, crd):
        """Wait until the API server writes no more to a CRD: each write ends its watches."""
        seen = []
        while len(seen) < 4 or len(set(seen[-3:])) > 1:
            found = await self.get(crd["apiVersion"], crd["kind"], None, crd["metadata"]["name"])
            seen.append(found["metadata"]["resourceVersion"])
            await asyncio.sleep(0.05)

    async def uninstall_crd(self, name):
        """Remove a CRD with all its objects, and wait until it is gone."""
        kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name)
        try:
            await self.delete(*kind)
            while True:
                await self.get(*kind)
                await asyncio.sleep(0.05)
        except KubeError as error:
            if error.code != 404:
                raise

    async def create_user(self, rules, *, namespace=None):
        """A user bound to a role of exactly these rules; returns the token."""
        number, name = next(KubeApi._users), f"test-{uuid.uuid4().hex[:8]}"
        scope = "" if namespace else "Cluster"
        api_version = "rbac.authorization.k8s.io/v1"
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        role = {"apiVersion": api_version, "kind": f"{scope}Role", "metadata": metadata}
        await self.create({**role, "rules": rules})
        await self.create(
            {
                "apiVersion": api_version,
                "kind": f"{scope}RoleBinding",
                "metadata": metadata,
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": f"{scope}Role",
                    "name": name,
                },
                "subjects": [
                    {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": "User",
                        "name": f"user-{number}",
                    }
                ],
            }
        )
        return f"token-{number}"

    async def _path(self, api_version, kind, namespace, name="", subresource=""):
        group, _, version = api_version.rpartition("/")
        base = f"/apis/{group}/{version}" if group else f"/api/{version}"
        if (api_version, kind) not in self._plurals:
            for resource in (await self.request("GET", base))["resources"]:
                if "/" not in resource["name"]:
                    self._plurals[api_version, resource["kind"]] = resource["name"]
        if (api_version, kind) not in self._plurals:
            raise KubeError(404, {"reason": "NotFound", "message": f"no {kind} in {api_version}"})
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = [base + scope, self._plurals[api_version, kind], name, subresource]
        return "/".join(part for part in parts if part)


class Door:
    """A way to the API server that can be shut: refused connections, as when it is gone."""

    def __init__(self, plane):
        self._plane = plane
        self._server = None
        self._pipes = set()
        self.port = None
        self.opened = 0

    async def open(self):
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port or 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self):
        self._server.close()
        await asyncio.sleep(0)  # a connection just taken in becomes a pipe first
        for task in tuple(self._pipes):
            task.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _pass(self, reader, writer):
        self.opened += 1
        task = asyncio.current_task()
        self._pipes.add(task)
        ends = [writer]
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._plane.port)
            ends.append(outer)
            await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or the door is shut
        finally:
            for end in ends:
                end.transport.abort()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._pipes.discard(task)


async def _pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def write_kubeconfig(path, plane, *, port=None, token=ADMIN_TOKEN, namespace="default"):
    """A kubeconfig file for clients and kopf."""
    cluster = {"server": f"{plane.scheme}://127.0.0.1:{port or plane.port}"}
    if plane.ca_file:
        cluster["certificate-authority"] = str(plane.ca_file)
    context = {"cluster": "test", "user": "test", "namespace": namespace}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": context}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _namespace(obj):
    return obj["metadata"].get("namespace")
