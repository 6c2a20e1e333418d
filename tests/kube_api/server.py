"""The HTTP face of the in-memory API server."""

import asyncio
import contextlib
import json
import re

import yaml
from aiohttp import web
from control_plane_assets import IN_MEMORY_VERSION
from kube_api import evictions, rbac, watches
from kube_api.failures import ApiError, not_found
from kube_api.resources import built_in, discovery
from kube_api.scaling import as_scale, set_replicas
from kube_api.selectors import field_matcher, label_matcher
from kube_api.store import Store
from kube_api.writes import Writes, lookup

_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)
_NAMESPACE_PATH = re.compile(r"^/api/v1/namespaces/([^/]+)(?:/(status|finalize))?$")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Server:
    """One API server; `tokens` maps a bearer token to (user, groups)."""

    def __init__(self, tokens):
        self.store = Store()
        self._tokens = tokens
        self._resources = built_in()
        self._writes = Writes(self.store, self._resources)
        namespaces = self._resources[0]
        for name in ("default", "kube-system"):
            self._writes.create(namespaces, None, {"metadata": {"name": name}}, manager="server")

    def application(self):
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request):
        try:
            return await self._route(request)
        except ApiError as error:
            return web.json_response(error.status, status=error.code)

    async def _route(self, request):
        user, groups = self._authenticate(request)
        path = request.path.rstrip("/")
        if path in ("/healthz", "/readyz", "/livez"):
            return web.Response(text="ok")
        if path == "/version":
            return web.json_response({"major": "1", "minor": "36", "gitVersion": IN_MEMORY_VERSION})
        if (found := self._discover(path)) is not None:
            return web.json_response(found)
        resource, namespace, name, sub = self._parse(path)
        verb = _VERBS.get(request.method) or ("get" if name else "list")
        if request.query.get("watch") in ("true", "1"):
            verb = "watch"
        if verb == "delete" and not name:
            verb = "deletecollection"
        self._authorize(user, groups, verb, resource, namespace, name, sub)
        if request.method == "GET":
            return await self._read(request, resource, namespace, name, sub)
        return await self._write(request, resource, namespace, name, sub)

    def _authenticate(self, request):
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens:
            raise ApiError(401, "Unauthorized")
        return self._tokens[token]

    def _authorize(self, user, groups, verb, resource, namespace, name, sub):
        full = f"{resource.plural}/{sub}" if sub else resource.plural
        if not rbac.allowed(
            self.store,
            user,
            groups,
            verb=verb,
            group=resource.group,
            resource=full,
            namespace=namespace,
            name=name,
        ):
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            raise ApiError(
                403,
                f'{resource.qualified} is forbidden: User "{user}" cannot {verb} resource "{full}" '
                f'in API group "{resource.group}"{where}',
            )

    def _discover(self, path):
        groups = {}
        for resource in self._resources:
            groups.setdefault(resource.group, {})[resource.version] = None
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/api/v1":
            return discovery(self._resources, "", "v1")
        listed = [_group(group, list(versions)) for group, versions in groups.items() if group]
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        match = re.match(r"^/apis/([^/]+)(?:/([^/]+))?$", path)
        if match is None:
            return None
        group, version = match[1], match[2]
        if group not in groups or (version and version not in groups[group]):
            raise ApiError(404, "the server could not find the requested resource")
        if version:
            return discovery(self._resources, group, version)
        return next(each for each in listed if each["name"] == group)

    def _parse(self, path):
        if match := _NAMESPACE_PATH.match(path):
            return self._resources[0], None, match[1], match[2] or ""
        match = _PATH.match(path)
        for resource in self._resources:
            wanted = (resource.group, resource.version, resource.plural)
            if match and wanted == (match["group"] or "", match["version"], match["plural"]):
                return resource, match["namespace"], match["name"], match["sub"] or ""
        raise ApiError(404, "the server could not find the requested resource")

    async def _read(self, request, resource, namespace, name, sub):
        only_metadata = "PartialObjectMetadata" in request.headers.get("Accept", "")
        if name:
            obj = lookup(self.store, resource, namespace, name)
            return web.json_response(as_scale(resource, obj) if sub == "scale" else obj)
        labels = label_matcher(request.query.get("labelSelector", ""))
        fields = field_matcher(request.query.get("fieldSelector", ""))

        def wanted(obj):
            metadata = obj["metadata"]
            here = namespace in (None, metadata.get("namespace"))
            return here and labels(metadata.get("labels")) and fields(obj)

        if request.query.get("watch") in ("true", "1"):
            return await watches.stream(request, self.store, resource, wanted, only_metadata)
        found = [obj for obj in self.store.objects(resource.store_key, namespace) if wanted(obj)]
        return web.json_response(self._page(request, resource, found, only_metadata))

    def _page(self, request, resource, found, only_metadata):
        limit, start = int(request.query.get("limit", 0)), int(request.query.get("continue") or 0)
        metadata = {"resourceVersion": str(self.store.version)}
        page = found[start : start + limit] if limit else found
        if limit and start + limit < len(found):
            metadata["continue"] = str(start + limit)
        kind = "PartialObjectMetadata" if only_metadata else resource.kind
        items = [watches.presented(obj, resource, only_metadata) for obj in page]
        return {
            "kind": f"{kind}List",
            "apiVersion": "meta.k8s.io/v1" if only_metadata else resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    async def _write(self, request, resource, namespace, name, sub):
        text = await request.text()
        body = yaml.safe_load(text) if text else {}
        query = request.query
        manager = query.get("fieldManager") or _agent(request)
        if request.method == "POST":
            if sub == "eviction":
                made = evictions.evict(self.store, self._writes, resource, namespace, name)
            else:
                made = self._writes.create(resource, namespace, body, manager=manager)
            return web.json_response(made, status=201)
        if request.method == "DELETE":
            return web.json_response(self._delete(query, resource, namespace, name, body))
        kind = request.content_type if request.method == "PATCH" else ""
        if kind == "application/apply-patch+yaml":
            return self._apply(query, resource, namespace, name, sub, body)
        before = lookup(self.store, resource, namespace, name)
        if sub == "scale":
            given = body
            if kind:
                given = json.loads(json.dumps(as_scale(resource, before)))
                given["spec"].update(body.get("spec", {}))
            after = set_replicas(resource, before, given["spec"]["replicas"])
            return web.json_response(
                as_scale(resource, self._writes.replace(resource, before, after, manager=manager))
            )
        how = {"manager": manager, "subresource": "" if sub == "finalize" else sub}
        if kind:
            return web.json_response(self._writes.patch(resource, before, body, kind, **how))
        return web.json_response(self._writes.replace(resource, before, body, **how))

    def _apply(self, query, resource, namespace, name, sub, body):
        if not query.get("fieldManager"):
            raise ApiError(400, "fieldManager is required for apply patch")
        manager, force = query["fieldManager"], query.get("force") in ("true", "1")
        body.setdefault("metadata", {})["name"] = name
        before = self.store.find(resource.store_key, namespace, name)
        if before is None:
            if sub:
                raise not_found(resource, name)
            created = self._writes.apply_new(resource, namespace, body, manager=manager)
            return web.json_response(created, status=201)
        return web.json_response(
            self._writes.apply(
                resource, before, body, manager=manager, force=force, subresource=sub
            )
        )

    def _delete(self, query, resource, namespace, name, body):
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        grace = None if grace is None else int(grace)
        if name:
            obj = lookup(self.store, resource, namespace, name)
            return self._writes.delete(resource, obj, grace_seconds=grace)
        labels = label_matcher(query.get("labelSelector", ""))
        for obj in self.store.objects(resource.store_key, namespace):
            if labels(obj["metadata"].get("labels")):
                self._writes.delete(resource, obj, grace_seconds=grace)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}


@contextlib.asynccontextmanager
async def serving(server, port=0):
    """Listen on loopback; gives the port."""
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield runner.addresses[0][1]
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()


def _group(name, versions):
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _agent(request):
    return request.headers.get("User-Agent", "unknown").partition("/")[0]
