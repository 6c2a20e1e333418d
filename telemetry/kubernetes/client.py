"""Lists and watches by the official client's asyncio part, as plain dictionaries.

Its typed models and its Watch are passed by: models of a thousand pods cost more than all the rest
of a router, and custom resources have none.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
)

from telemetry.fleet_source import FleetSourceError
from telemetry.kubernetes.objects import KubeObject, WatchKey

OPENED, BOOKMARK = "OPENED", "BOOKMARK"
_PAGE = 500
_CONNECT_SECONDS = 5.0
_USER_CONFIG = str(Path("~/.kube/config").expanduser())
_LIST_SECONDS = 30.0
_OK, _GONE = 200, 410
_METADATA_FORM = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class ApiRequestError(Exception):
    """The API server did not give what was asked for.

    Attributes:
        code: HTTP status; None when there was no answer.
        reason: Short, for metrics: "unreachable", "http_403".
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        """Say what went wrong in one sentence."""
        super().__init__(message)
        self.code = code
        self.reason = "unreachable" if code is None else f"http_{code}"


class HistoryGoneError(Exception):
    """The resource version is too old: list anew."""


class Listed(NamedTuple):
    """A whole list, and the version from which to watch on."""

    objects: list[KubeObject]
    version: str


class Event(NamedTuple):
    """One line of a watch, or that it has begun.

    A BOOKMARK and an OPENED have no more than a version.
    """

    kind: str
    obj: KubeObject

    @property
    def version(self) -> str:
        """The resource version to go on from."""
        version: str = self.obj["metadata"]["resourceVersion"]
        return version


async def load_configuration(kubeconfig: str | None) -> Configuration:
    """Where the API server is and who we are there: a file, the pod's own account, or the user's.

    Raises:
        FleetSourceError: When there is no usable configuration.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(  # type: ignore[no-untyped-call]  # the client has no types
                client_configuration=configuration
            )
        else:
            path = kubeconfig or os.environ.get("KUBECONFIG") or _USER_CONFIG
            await load_kube_config(  # type: ignore[no-untyped-call]  # the client has no types
                config_file=path,
                client_configuration=configuration,
            )
    except (ConfigException, OSError) as error:
        raise FleetSourceError(f"Kubernetes: no usable configuration: {error}") from error
    return configuration


class KubeClient:
    """One API server with one identity."""

    def __init__(self, api: ApiClient) -> None:
        """Take a client that is set up."""
        self._api = api

    @classmethod
    async def connect(cls, kubeconfig: str | None) -> "KubeClient":
        """Find the API server and who we are there; opens no connection.

        Raises:
            FleetSourceError: When there is no usable configuration.
        """
        return cls(ApiClient(await load_configuration(kubeconfig)))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]  # the client has no types

    async def list(self, key: WatchKey) -> Listed:
        """Everything that `key` selects, page by page.

        Raises:
            ApiRequestError: Whatever the reason.
            HistoryGoneError: When the pages took too long; ask again.
        """
        objects: list[KubeObject] = []
        query = {**_selectors(key), "limit": str(_PAGE)}
        timeout = aiohttp.ClientTimeout(total=_LIST_SECONDS, sock_connect=_CONNECT_SECONDS)
        while True:
            try:
                async with await self._get(key, query, timeout, "List") as answer:
                    page = await answer.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _unreachable(key, error) from error
            objects += page.get("items") or ()
            if not (token := page["metadata"].get("continue")):
                return Listed(objects, page["metadata"]["resourceVersion"])
            query["continue"] = token

    async def watch(
        self, key: WatchKey, version: str, *, seconds: float, silent_seconds: float
    ) -> AsyncIterator[Event]:
        """Events after `version`, until the server ends the watch.

        Raises:
            ApiRequestError: Whatever the reason.
            HistoryGoneError: When `version` is too old.
        """
        query = {
            **_selectors(key),
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(seconds)),
        }
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=silent_seconds
        )
        try:
            async with await self._get(key, query, timeout, "") as answer:
                yield Event(OPENED, {"metadata": {"resourceVersion": version}})
                # Not line by line: an object may be longer than aiohttp lets a line be.
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in filter(None, lines):
                        yield _event(key, json.loads(line))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _unreachable(key, error) from error

    async def _get(
        self, key: WatchKey, query: Mapping[str, str], limits: aiohttp.ClientTimeout, suffix: str
    ) -> aiohttp.ClientResponse:
        root = f"/apis/{key.group}/{key.version}" if key.group else f"/api/{key.version}"
        scope = f"/namespaces/{key.namespace}" if key.namespace else ""
        form = _METADATA_FORM.format(suffix) if key.metadata_only else "application/json"
        serialized = await self._api.param_serialize(
            method="GET",
            resource_path=f"{root}{scope}/{key.plural}",
            query_params=list(query.items()),
            header_params={"Accept": form},
            auth_settings=["BearerToken"],
        )
        wrapped = await self._api.call_api(*serialized, _request_timeout=limits)
        answer: aiohttp.ClientResponse = wrapped.response
        if answer.status == _OK:
            return answer
        async with answer:
            said = _message(await answer.read())
        if answer.status == _GONE:
            raise HistoryGoneError(said)
        raise ApiRequestError(
            f"The API server answered {answer.status} for {key}: {said}", code=answer.status
        )


def _selectors(key: WatchKey) -> dict[str, str]:
    selectors = {"labelSelector": key.labels, "fieldSelector": key.fields}
    return {name: text for name, text in selectors.items() if text}


def _event(key: WatchKey, line: Mapping[str, Any]) -> Event:
    if line["type"] != "ERROR":
        return Event(line["type"], line["object"])
    code, said = line["object"].get("code"), line["object"].get("message")
    if code == _GONE:
        raise HistoryGoneError(said)
    raise ApiRequestError(f"The watch of {key} ended with {code}: {said}", code=code)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace").strip()


def _unreachable(key: WatchKey, error: Exception) -> ApiRequestError:
    reason = str(error) or type(error).__name__
    return ApiRequestError(f"The API server gives no answer for {key}: {reason}.")
