"""Headrace's own router keeps every rule of the conformance suite, plain and over TLS."""

import random
from contextlib import asynccontextmanager

import pytest
from builders import make_fleet, make_snapshot
from prometheus_client import CollectorRegistry

from fleet.snapshot import SnapshotHolder
from headrace.conformance.case import BOTH
from headrace.conformance.lab import Settings
from headrace.conformance.suite import CASES, refusal, run_suite
from headrace.conformance.transport import Target, connected, tls_context
from headrace.conformance.verdicts import Verdict
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.extproc.health import Readiness
from router.extproc.server import ExtProcServer, ExtProcSettings
from router.extproc.tls import TlsSettings
from router.metrics import RouterMetrics
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = Settings(model="llama", timeout_seconds=20.0, quiet_seconds=0.1)


@asynccontextmanager
async def serving(**settings):
    """The router's server and its picker, as `headrace serve` puts them together."""
    fleet, clock, registry = make_fleet(), SystemClock(), CollectorRegistry()
    picker = Picker(fleet, DecideSettings())
    snapshot = make_snapshot(fleet, at_seconds=clock.monotonic_seconds())
    snapshots = SnapshotHolder(snapshot)
    server = ExtProcServer(
        decider=picker,
        clock=clock,
        settings=ExtProcSettings(port=0, **settings),
        readiness=Readiness(snapshots),
        metrics=RouterMetrics(
            registry=registry, ledger=picker.ledger, snapshots=snapshots, clock=clock
        ),
        draw=random.Random(1).random,
    )
    await server.start()
    try:
        yield server, picker
    finally:
        await server.stop(drain_seconds=0)


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_the_router_passes_every_case_in_both_body_modes(secured):
    async with serving(tls=TlsSettings() if secured else None) as (server, picker):
        target = Target(
            host="127.0.0.1",
            port=server.port,
            tls=tls_context(None, None, None) if secured else None,
            authority="picker.test",
            timeout_seconds=20.0,
        )
        async with connected(target) as channel:
            assert await refusal(channel, modes=BOTH, settings=SETTINGS) is None
            results = await run_suite(channel, modes=BOTH, settings=SETTINGS)
        unkept = [one for one in results if one.verdict is not Verdict.PASS]
        assert [(one.name, one.body_mode, one.reason) for one in unkept] == []
        assert len(results) == sum(max(1, len(case.modes)) for case in CASES)
    # Streams were cut off in every way there is, and none has left its request behind.
    assert picker.ledger.running() == 0
