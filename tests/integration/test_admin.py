"""The admin port over real HTTP."""

import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from fleet.priors import prior_profile
from fleet.signals import FreshnessPolicy, Signal, SignalKind
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica
from router.admin import AdminListenError, AdminServer, AdminSettings
from router.decide.picker import Picker
from router.decide.request_facts import Api, RequestFacts
from router.decide.settings import DecideSettings
from router.extproc.health import Readiness
from router.extproc.pick_log import PickLog
from router.metrics import RouterMetrics

ADDRESS = "10.0.0.1:8000"


class SystemClock:
    def monotonic_seconds(self):
        return time.monotonic()

    def epoch_seconds(self):
        return 1_700_000_000.0


def make_fleet():
    backend = Backend(
        name="h100",
        accelerator="H100",
        parameters=8.03e9,
        profile=prior_profile("H100", parameters=8.03e9),
        replicas=(
            Replica(address=ADDRESS, backend="h100", models=("llama",), domain="rack-1"),
            Replica(address="10.0.0.2:8000", backend="h100", models=("llama",), domain="rack-1"),
        ),
    )
    return Fleet((backend,))


@asynccontextmanager
async def serving(*, port=0):
    clock, registry, fleet = SystemClock(), CollectorRegistry(), make_fleet()
    picker = Picker(fleet, DecideSettings())
    picks = PickLog(picker, capacity=100)
    snapshots = SnapshotHolder(FleetSnapshot(fleet=fleet, published_seconds=0.0))
    readiness = Readiness(snapshots)
    RouterMetrics(registry=registry, ledger=picker.ledger, snapshots=snapshots, clock=clock)
    admin = AdminServer(
        settings=AdminSettings(port=port),
        registry=registry,
        readiness=readiness,
        snapshots=snapshots,
        freshness=FreshnessPolicy(),
        ledger=picker.ledger,
        picks=picks,
        clock=clock,
    )
    await admin.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{admin.port}") as http:

            async def ask(method, path, **options):
                async with http.request(method, path, **options) as response:
                    return response.status, await response.json()

            yield SimpleNamespace(
                admin=admin,
                http=http,
                ask=ask,
                fleet=fleet,
                snapshots=snapshots,
                picks=picks,
                readiness=readiness,
            )
    finally:
        await admin.stop()


def published(fleet, signals=None):
    return FleetSnapshot(
        fleet=fleet, signals=signals or {}, published_seconds=time.monotonic(), version=1
    )


async def test_readiness_says_what_is_missing():
    async with serving() as s:
        assert (await s.ask("GET", "/healthz"))[0] == 200
        status, told = await s.ask("GET", "/readyz")
        assert status == 503
        assert "snapshot" in told["reason"]

        s.snapshots.current = published(s.fleet)
        assert (await s.ask("GET", "/readyz"))[0] == 200

        s.readiness.drain()
        status, told = await s.ask("GET", "/readyz")
        assert status == 503
        assert "draining" in told["reason"]
        assert (await s.ask("GET", "/healthz"))[0] == 200


async def test_metrics_are_those_of_the_registry():
    async with serving() as s, s.http.get("/metrics") as response:
        text = await response.text()
        assert response.headers["Content-Type"].startswith("text/plain")
        assert 'headrace_router_requests_in_flight{backend="h100"} 0.0' in text


async def test_the_snapshot_is_shown_with_ages_and_freshness():
    async with serving() as s:
        assert (await s.ask("GET", "/debug/snapshot"))[1]["age_seconds"] is None
        now_seconds = time.monotonic()
        signals = {
            SignalKind.POWER_WATTS: Signal(412.5, now_seconds),
            SignalKind.RUNNING_REQUESTS: Signal(3.0, now_seconds - 20.0),
        }
        s.snapshots.current = published(s.fleet, {ADDRESS: signals})
        s.picks.pick(RequestFacts("llama", Api.CHAT), now_seconds=now_seconds, draw=0.5)
        status, told = await s.ask("GET", "/debug/snapshot")
        assert status == 200
        assert told["version"] == 1
        first, second = told["replicas"]
        assert (first["address"], first["backend"], first["domain"]) == (ADDRESS, "h100", "rack-1")
        assert first["signals"]["power_watts"]["value"] == 412.5
        assert first["signals"]["power_watts"]["freshness"] == "fresh"
        assert first["signals"]["running_requests"]["freshness"] == "stale"
        assert first["signals"]["running_requests"]["age_seconds"] >= 20.0
        assert "kv_usage_ratio" in first["unknown"]
        assert second["signals"] == {}
        assert first["ledger_running"] + second["ledger_running"] == 1


async def test_the_last_picks_are_shown_newest_first():
    async with serving() as s:
        for model in ("llama", "gpt-9"):
            facts = RequestFacts(model, Api.CHAT)
            s.picks.pick(facts, now_seconds=time.monotonic(), draw=0.5)
        status, told = await s.ask("GET", "/debug/picks?last=10")
        assert status == 200
        assert [pick["model"] for pick in told["picks"]] == ["gpt-9", "llama"]
        assert told["picks"][1]["explanation"]["candidates"]
        assert len((await s.ask("GET", "/debug/picks?last=1"))[1]["picks"]) == 1


@pytest.mark.parametrize("last", ["0", "-1", "101", "x", "1.5", "٣", ""])
async def test_a_count_of_picks_out_of_range_is_refused(last):
    async with serving() as s:
        status, told = await s.ask("GET", f"/debug/picks?last={last}")
        assert status == 400
        assert "from 1 to 100" in told["error"]


async def test_a_request_is_explained_without_being_entered():
    async with serving() as s:
        body = {"model": "llama", "messages": [{"role": "user", "content": "hi"}]}
        status, told = await s.ask("POST", "/debug/explain", json=body)
        assert status == 200
        assert {candidate["address"] for candidate in told["candidates"]} == {
            ADDRESS,
            "10.0.0.2:8000",
        }
        assert sum(account.running for _, account in s.admin._ledger) == 0  # is what is asserted


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"not json", 400),
        ({"x-headrace-slo-ttft-ms": "soon"}, b'{"model": "llama"}', 400),
        ({}, b'{"model": "gpt-9"}', 404),
    ],
)
async def test_what_cannot_be_explained_is_refused_as_the_router_would(headers, body, status):
    async with serving() as s:
        answered, told = await s.ask("POST", "/debug/explain", data=body, headers=headers)
        assert answered == status
        assert told["error"]


async def test_a_taken_port_is_refused_in_one_sentence():
    async with serving() as s:
        with pytest.raises(AdminListenError, match=f"127.0.0.1:{s.admin.port}"):
            async with serving(port=s.admin.port):
                pass
