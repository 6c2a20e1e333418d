"""`headrace bench soak` for real, as short as it gets: Envoys, router, streamed answers."""

import asyncio

import pytest

from headrace.bench.soak_run import Plan, soak

pytestmark = pytest.mark.envoy

PLAN = Plan(
    duration_seconds=1.5,
    replicas=3,
    requests_per_second=30.0,
    reading_seconds=0.5,
    scrape_seconds=0.5,
    held_streams=20,
    settle_seconds=0.2,
)
COUNTED = (
    "streams open after the load",
    "requests in the ledger after the load",
    "requests that passed by the router",
    "failed requests",
)


def test_a_short_soak_reads_memory_and_ends_with_empty_accounts(tmp_path):
    told = []
    report = asyncio.run(soak(PLAN, tmp_path, lambda reading, _counts: told.append(reading)))
    assert len(told) == len(report["readings"]) == 3
    assert all(reading.resident_bytes > 10 * 2**20 for reading in told)
    assert max(reading.streams_open for reading in told) > 5
    verdicts = {check["what"]: check["is_met"] for check in report["checks"]}
    assert [verdicts[what] for what in COUNTED] == [True] * 4
    assert report["figures"]["answered_requests"] > 10
    assert [one["body_mode"] for one in report["held"]] == ["buffered", "full-duplex"]
    assert len(verdicts) == len(COUNTED) + 4  # growth, two kinds of streams, memory
