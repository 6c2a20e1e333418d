"""The webhook's HTTPS server: answers, refusals, metrics, renewed certificates; work done apart."""

import asyncio
import io
import json
import os
import ssl
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from racks_harness import certificate, pod
from telemetry_harness import until

from capper.racks.apart import LostError, apart
from capper.racks.webhook import PATH, CertificateFilesError, Webhook


def review(obj):
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    request = {"uid": "u", "operation": "CREATE", "kind": kind, "object": obj}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@asynccontextmanager
async def serving(folder):
    webhook = Webhook(CollectorRegistry(), reload_seconds=0.05)
    await webhook.start("127.0.0.1", 0, folder / "tls.crt", folder / "tls.key")
    try:
        yield f"https://localhost:{webhook.port}"
    finally:
        await webhook.stop()


def trusting(folder):
    context = ssl.create_default_context(cafile=folder / "tls.crt")
    return aiohttp.TCPConnector(ssl=context, force_close=True)


async def post(url, folder, body):
    async with (
        aiohttp.ClientSession(connector=trusting(folder)) as session,
        session.post(url + PATH, data=body) as answer,
    ):
        return answer.status, await answer.text()


async def get(url, folder, path):
    async with (
        aiohttp.ClientSession(connector=trusting(folder)) as session,
        session.get(url + path) as answer,
    ):
        return answer.status, await answer.text()


async def test_reviews_are_answered_counted_and_refused_in_a_sentence(tmp_path):
    with certificate(tmp_path):
        async with serving(tmp_path) as url:
            status, text = await post(url, tmp_path, json.dumps(review(pod("n", "p", gated=False))))
            assert (status, json.loads(text)["response"]["patchType"]) == (200, "JSONPatch")
            status, text = await post(url, tmp_path, json.dumps(review(pod("n", "p"))))
            assert (status, "patch" in json.loads(text)["response"]) == (200, False)
            assert await post(url, tmp_path, "{") == (400, "the body is not JSON.\n")
            assert (await post(url, tmp_path, io.BytesIO(b"x" * (5 * 2**20))))[0] == 413
            assert await get(url, tmp_path, "/healthz") == (200, "ok\n")
            _, text = await get(url, tmp_path, "/metrics")
            for answer, count in (("gated", 1), ("passed", 1), ("malformed", 1)):
                assert f'headrace_webhook_reviews_total{{answer="{answer}"}} {count}.0' in text


async def test_a_thousand_reviews_at_once_are_all_answered(tmp_path):
    with certificate(tmp_path):
        async with serving(tmp_path) as url:
            body = json.dumps(review(pod("n", "p", gated=False)))
            connector = aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cafile=tmp_path / "tls.crt"), limit=50
            )
            async with aiohttp.ClientSession(connector=connector) as session:

                async def one():
                    async with session.post(url + PATH, data=body) as answer:
                        return answer.status

                assert await asyncio.gather(*(one() for _ in range(1000))) == [200] * 1000


async def test_a_renewed_certificate_is_taken_and_a_bad_one_is_not(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        with certificate(folder):
            pass
    here = tmp_path / "here"
    here.mkdir()
    for name in ("tls.crt", "tls.key"):
        (here / name).write_bytes((first / name).read_bytes())
    async with serving(here) as url:
        assert (await get(url, first, "/healthz"))[0] == 200
        (here / "tls.key").write_text("nonsense")
        await asyncio.sleep(0.2)
        assert (await get(url, first, "/healthz"))[0] == 200
        for name in ("tls.key", "tls.crt"):
            (here / name).write_bytes((second / name).read_bytes())

        async def renewed():
            try:
                return (await get(url, second, "/healthz"))[0] == 200
            except aiohttp.ClientConnectorError:
                return False

        await until(renewed, seconds=10)


async def test_files_that_are_no_certificate_are_named(tmp_path):
    (tmp_path / "tls.crt").write_text("x")
    (tmp_path / "tls.key").write_text("y")
    with pytest.raises(CertificateFilesError, match=r"tls\.crt and .*tls\.key: must be"):
        async with serving(tmp_path):
            pass


async def test_work_done_apart_comes_back_or_is_given_up():
    assert await apart(abs, -3, timeout_seconds=30.0) == 3
    with pytest.raises(LostError, match="ended without an answer"):
        await apart(os._exit, 3, timeout_seconds=30.0)
    with pytest.raises(LostError, match=r"more than 0\.5 s"):
        await apart(time.sleep, 30.0, timeout_seconds=0.5)
