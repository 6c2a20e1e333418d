"""Reading and writing single objects, by the official client's asyncio part, as dictionaries."""

import json
from http import HTTPStatus

import aiohttp
from kubernetes.aio.client import ApiClient

from capper.kube.kinds import POD, Kind, KubeObject

FIELD_MANAGER = "headrace-capper"
_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)


class KubeError(Exception):
    """The API server did not do what was asked.

    Attributes:
        code: HTTP status; None when there was no answer.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        """Say what went wrong in one sentence."""
        super().__init__(message)
        self.code = code


class NotFoundError(KubeError):
    """The object, or its kind, is not there."""


class FieldConflictError(KubeError):
    """Another manager owns a field that was to be applied."""


class KubeApi:
    """Objects of one API server."""

    def __init__(self, client: ApiClient) -> None:
        """Take a client that is set up; closing it is its owner's."""
        self._client = client

    async def get(self, kind: Kind, namespace: str, name: str, *, part: str = "") -> KubeObject:
        """One object, or its subresource `part`.

        Raises:
            NotFoundError: There is no such object or kind.
            KubeError: Anything else.
        """
        return await self._call("GET", kind, namespace, name, part)

    async def find(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> list[KubeObject]:
        """All objects of a kind with the labels and fields; empty where it is not installed.

        Raises:
            KubeError: The server did not answer as it should.
        """
        query = [("labelSelector", labels)] if labels else []
        query += [("fieldSelector", fields)] if fields else []
        try:
            answer = await self._call("GET", kind, namespace, "", "", query=query)
        except NotFoundError:
            return []
        items: list[KubeObject] = answer.get("items") or []
        return items

    async def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        fields: KubeObject,
        *,
        force: bool = False,
        part: str = "",
    ) -> KubeObject:
        """Server-side apply: these fields are ours now, and what we no longer name is let go.

        Raises:
            FieldConflictError: A field belongs to another manager and `force` is off.
            NotFoundError: The object is not there (it is never created).
            KubeError: Anything else.
        """
        # A uid or resourceVersion would make this fail for an object that is gone; without one
        # an apply would create it. So its existence is asked for first.
        await self.get(kind, namespace, name)
        body = {"apiVersion": kind.api_version, "kind": kind.name, **fields}
        body["metadata"] = {**body.get("metadata", {}), "name": name, "namespace": namespace}
        query = [("fieldManager", FIELD_MANAGER), ("force", str(force).lower())]
        return await self._call(
            "PATCH", kind, namespace, name, part, query, body, "application/apply-patch+yaml"
        )

    async def merge(
        self, kind: Kind, namespace: str, name: str, fields: KubeObject, *, part: str = ""
    ) -> KubeObject:
        """JSON merge patch: sets single fields as an update, whoever owns them.

        Raises:
            NotFoundError: The object is not there.
            KubeError: Anything else.
        """
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._call(
            "PATCH", kind, namespace, name, part, query, fields, "application/merge-patch+json"
        )

    async def create(
        self, kind: Kind, namespace: str, body: KubeObject, *, name: str = "", part: str = ""
    ) -> KubeObject:
        """Create an object, or with a name the subresource `part` of one: an eviction.

        Raises:
            KubeError: It was refused.
        """
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._call("POST", kind, namespace, name, part, query, body)

    async def evict(self, namespace: str, pod: str) -> None:
        """Evict a pod, which its disruption budgets may forbid (HTTP 429).

        Raises:
            NotFoundError: The pod is gone already.
            KubeError: It was refused.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        await self._call("POST", POD, namespace, pod, "eviction", [], body)

    async def _call(
        self,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str,
        part: str,
        query: list[tuple[str, str]] | None = None,
        body: KubeObject | None = None,
        content_type: str = "application/json",
    ) -> KubeObject:
        path = _path(kind, namespace, name, part)
        what = f"{method} {path}"
        try:
            serialized = await self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=query or [],
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            wrapped = await self._client.call_api(*serialized, _request_timeout=_TIMEOUT)
            async with wrapped.response as answer:
                status, text = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(f"{what}: the API server cannot be reached: {error}") from error
        if status >= HTTPStatus.BAD_REQUEST:
            raise _error(what, status, text)
        found: KubeObject = json.loads(text)
        return found


def _path(kind: Kind, namespace: str | None, name: str, part: str) -> str:
    root = "/api/" if "/" not in kind.api_version else "/apis/"
    scope = f"/namespaces/{namespace}" if namespace is not None else ""
    tail = f"/{name}" if name else ""
    return f"{root}{kind.api_version}{scope}/{kind.plural}{tail}" + (f"/{part}" if part else "")


def _error(what: str, code: int, text: bytes) -> KubeError:
    try:
        message = str(json.loads(text).get("message") or "")
    except ValueError:
        message = ""
    sentence = f"{what}: {message or text[:200].decode(errors='replace')} ({code})"
    if code == HTTPStatus.NOT_FOUND:
        return NotFoundError(sentence, code=code)
    if code == HTTPStatus.CONFLICT and "conflict" in message.lower():
        return FieldConflictError(sentence, code=code)
    return KubeError(sentence, code=code)
