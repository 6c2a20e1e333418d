"""The benchmark of scraping, short: what it measures is what it says."""

import pytest

from headrace.bench.scrape_arms import Arm, Skipped, measured
from headrace.bench.scrape_page import page

REPLICAS = 12
EXPORTERS = 2
_LOOKS = 4  # the benchmark's own connections: three questions, and one to spare


def figures_of(found):
    assert not isinstance(found, Skipped)
    (figures,) = found
    return figures


async def test_every_page_is_asked_once_a_round_over_connections_that_are_kept(tmp_path):
    arm = Arm(replicas=REPLICAS, windows=1, window_seconds=2.5)
    figures = figures_of(await measured(arm, tmp_path))
    assert figures.known_ratio == 1.0
    assert figures.connections <= REPLICAS + EXPORTERS + _LOOKS
    pages_per_round = figures.pages_per_second / figures.snapshots_per_second
    assert pages_per_round == pytest.approx(REPLICAS + EXPORTERS, rel=0.5)
    assert 0.0 < figures.read_bytes_ratio < 0.1
    assert figures.page_bytes_per_second > figures.pages_per_second * 10_000


@pytest.mark.prometheus
async def test_a_prometheus_in_between_makes_the_same_fleet_known(tmp_path):
    arm = Arm(replicas=REPLICAS, windows=1, window_seconds=2.5, prometheus_interval_seconds=1.0)
    found = await measured(arm, tmp_path)
    if isinstance(found, Skipped):
        pytest.skip(f"{found.reason}: the bench by Prometheus is NOT TESTED")
    figures = figures_of(found)
    assert figures.known_ratio == 1.0
    assert figures.prometheus_cores is not None
    assert figures.snapshots_per_second > 0


def test_the_page_shows_what_was_measured_and_what_was_skipped():
    arm = {
        "arm": "some arm",
        "windows": 3,
        "window_seconds": 15.0,
        "poller_cores": 0.0421,
        "prometheus_cores": None,
        "snapshots_per_second": 1.0,
        "pages_per_second": 113.0,
        "page_bytes_per_second": 6.4e6,
        "read_bytes_ratio": 0.035,
        "connections": 114,
        "known_ratio": 1.0,
        "resident_bytes": 46_000_000,
    }
    machine = {"cores": 2, "memory_bytes": 2**34, "processor": "p", "python": "3.11"}
    skipped = [{"arm": "other arm", "reason": "no prometheus on PATH"}]
    text = page({"machine": machine, "arms": [arm], "skipped": skipped})
    assert (
        "| some arm (3 x 15 s) | 0.042 | - | 1.00 | 113 | 6.4 | 3.5% | 100.0% | 114 | 46 |" in text
    )
    assert "Skipped: other arm: no prometheus on PATH." in text
