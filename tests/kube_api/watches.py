"""Watches: a stream of events from a resource version on."""

import asyncio
import contextlib
import json

from aiohttp import web
from kube_api.failures import ApiError

_BOOKMARK_SECONDS = 1.0  # a minute on the real server; here tests should see some
_DEFAULT_SECONDS = 300


def presented(obj, resource, only_metadata):
    """As the version and form asked for."""
    if only_metadata:
        return {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
    return {**obj, "apiVersion": resource.api_version}


async def stream(request, store, resource, wanted, only_metadata):
    """Answer a watch until its time is up or the client goes."""
    seconds = _whole(request.query.get("timeoutSeconds", str(_DEFAULT_SECONDS)))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)

    async def send(kind, obj):
        await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    version = int(request.query.get("resourceVersion") or 0)
    if version == 0:
        version = store.version
        for obj in store.objects(resource.store_key):
            if wanted(obj):
                await send("ADDED", presented(obj, resource, only_metadata))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while version is not None:
                version = await _round(
                    request, store, resource, wanted, only_metadata, send, version
                )
    return response


async def _round(request, store, resource, wanted, only_metadata, send, version):
    """Send what has changed since `version`, or wait; None: that can no longer be told."""
    try:
        seen, changes = store.version, store.since(version, resource.store_key)
    except ApiError as error:
        await send("ERROR", error.status)
        return None
    for change in changes:
        if (kind := _kind(change, wanted)) is not None:
            await send(kind, presented(change.last, resource, only_metadata))
    if store.version == seen and not await _changes(store):
        await _bookmark(request, send, resource, seen)
    return seen


def _whole(text):
    if not text.isdigit():
        raise ApiError(400, f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


async def _changes(store):
    """Wait for a write; False when none comes for a while."""
    try:
        await asyncio.wait_for(store.wait(), _BOOKMARK_SECONDS)
    except TimeoutError:
        return False
    return True


def _kind(change, wanted):
    """An object that comes into view is added, one that leaves it is deleted."""
    before = change.before is not None and wanted(change.before)
    after = change.after is not None and wanted(change.after)
    if before and after:
        return "MODIFIED"
    if before:
        return "DELETED"
    return "ADDED" if after else None


async def _bookmark(request, send, resource, version):
    if request.query.get("allowWatchBookmarks") in ("true", "1"):
        metadata = {"resourceVersion": str(version)}
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        await send("BOOKMARK", obj)
