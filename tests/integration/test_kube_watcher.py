"""Lists and watches against an API server that misbehaves as told."""

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import yaml
from aiohttp import web
from kube_discovery import QUICK, until
from loopback_http import served_at

from telemetry.fleet_source import FleetSourceError
from telemetry.kubernetes.client import KubeClient
from telemetry.kubernetes.objects import Store, WatchKey
from telemetry.kubernetes.settings import KubernetesSettings
from telemetry.kubernetes.watcher import Watcher
from telemetry.system_clock import SystemClock

PODS = WatchKey("", "v1", "pods", "llm")


def pod(name, version="1"):
    return {"metadata": {"namespace": "llm", "name": name, "resourceVersion": version}}


def event(kind, obj):
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def page(*pods, version="10", more=None):
    metadata = {"resourceVersion": version, **({"continue": more} if more else {})}
    return web.json_response({"metadata": metadata, "items": list(pods)})


class Script:
    """Answers of the API server, one after another; the last is repeated."""

    def __init__(self):
        self.lists, self.watches = [lambda _query: page()], [[]]
        self.asked = []

    async def answer(self, request):
        query = dict(request.query)
        self.asked.append(query)
        if query.get("watch") != "true":
            return self._next(self.lists)(query)
        chunks = self._next(self.watches)
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            if chunk is None:
                await asyncio.sleep(30)
            await response.write(chunk)
            await asyncio.sleep(0.01)
        return response

    def versions_watched(self):
        return [query["resourceVersion"] for query in self.asked if "watch" in query]

    def _next(self, answers):
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
async def script(tmp_path):
    told = Script()
    told.kubeconfig = tmp_path / "kubeconfig"
    async with served_at(told.answer, "/api/v1/namespaces/llm/pods") as server:
        document = {
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        told.kubeconfig.write_text(yaml.safe_dump(document))
        yield told


@asynccontextmanager
async def watching(script, **changes):
    settings = KubernetesSettings(targets=(), **{**QUICK, **changes})
    client = await KubeClient.connect(str(script.kubeconfig))
    store, failures = Store(), []
    watcher = Watcher(
        PODS,
        client=client,
        store=store,
        settings=settings,
        clock=SystemClock(),
        on_change=lambda: None,
        on_failure=lambda _key, failure: failures.append(failure),
    )
    task = asyncio.create_task(watcher.run())
    try:
        yield SimpleNamespace(
            watcher=watcher,
            failures=failures,
            names=lambda: [obj["metadata"]["name"] for obj in store.of(PODS)],
        )
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()


async def test_a_list_comes_in_pages_and_events_in_any_pieces(script):
    script.lists = [
        lambda query: page(pod("b")) if "continue" in query else page(pod("a"), more="next"),
    ]
    big = pod("c", "11")
    big["spec"] = {"text": "x" * 300_000}  # longer than aiohttp lets a line be
    text = event("ADDED", big) + event("DELETED", pod("a", "12"))
    pieces = [text[start : start + 70_001] for start in range(0, len(text), 70_001)]
    script.watches = [[*pieces, None]]
    async with watching(script) as seen:
        await until(lambda: seen.names() == ["b", "c"])
        assert seen.watcher.settled
        assert seen.watcher.failure is None


async def test_a_watch_goes_on_where_the_last_one_ended(script):
    script.watches = [
        [event("ADDED", pod("a", "11"))],
        [event("BOOKMARK", pod("", "25"))],
        [None],
    ]
    async with watching(script) as seen:
        await until(lambda: len(script.versions_watched()) == 3)
        assert script.versions_watched() == ["10", "11", "25"]
        assert seen.names() == ["a"]
        assert len(script.asked) == 4  # one list
        assert seen.failures == []


async def test_a_history_that_is_gone_means_a_new_list(script):
    gone = {"kind": "Status", "code": 410, "message": "too old"}
    script.lists = [lambda _query: page(pod("a")), lambda _query: page(pod("b"), version="90")]
    script.watches = [[event("ERROR", gone)], [None]]
    async with watching(script) as seen:
        await until(lambda: seen.names() == ["b"])
        await until(lambda: script.versions_watched() == ["10", "90"])
        assert seen.failures == []


async def test_a_broken_watch_pauses_and_goes_on_from_its_last_event(script):
    script.watches = [[event("ADDED", pod("a", "11")), b"{not json\n"], [None]]
    async with watching(script) as seen:
        await until(lambda: script.versions_watched() == ["10", "11"])
        await until(lambda: seen.watcher.failure is None)
        assert [failure.reason for failure in seen.failures] == ["unreachable"]
        assert seen.names() == ["a"]


async def test_a_watch_that_says_nothing_is_taken_for_dead(script):
    script.watches = [[None]]
    async with watching(script, silent_seconds=0.1) as seen:
        await until(lambda: len(seen.failures) >= 2)
        assert seen.names() == []


async def test_everything_is_listed_anew_after_a_while(script):
    script.lists = [lambda _query: page(pod("a")), lambda _query: page(pod("b"))]
    async with watching(script, resync_seconds=0.0) as seen:
        await until(lambda: seen.names() == ["b"])


@pytest.mark.parametrize("code", [401, 500])
async def test_an_error_is_a_failure_with_the_servers_words(script, code):
    said = {"kind": "Status", "message": "no luck today"}
    script.lists = [lambda _query: web.json_response(said, status=code)]
    async with watching(script) as seen:
        await until(lambda: len(seen.failures) >= 3)
        failure = seen.failures[0]
        assert (failure.code, failure.reason) == (code, f"http_{code}")
        assert str(failure) == (f"The API server answered {code} for pods in llm: no luck today")
        assert not seen.watcher.settled


async def test_a_kubeconfig_without_sense_is_told(tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text("current-context: x\n")
    with pytest.raises(FleetSourceError, match=r"^Kubernetes: no usable configuration"):
        await KubeClient.connect(str(path))
