"""The fleet file is read again when it changes; a bad edit changes nothing."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import yaml
from kube_discovery import until
from prometheus_client import CollectorRegistry

from headrace.fleet_watch import FleetFileSource
from telemetry.fleet_source import FleetSourceError
from telemetry.system_clock import SystemClock


def fleet_text(*ports):
    return yaml.safe_dump(
        {
            "backends": [
                {
                    "name": "llama",
                    "accelerator": "H100",
                    "parameters": 8e9,
                    "models": ["llama"],
                    "replicas": [{"address": f"10.0.0.7:{port}"} for port in ports],
                }
            ]
        }
    )


@asynccontextmanager
async def watched(path):
    registry, clock, views = CollectorRegistry(), SystemClock(), []
    source = FleetFileSource(path, clock, registry, interval_seconds=0.02)
    views.append(await source.start(views.append))

    def metric(name, **labels):
        wanted = {"source": "fleet_file", **labels}
        return registry.get_sample_value(f"headrace_discovery_{name}", wanted)

    def state():
        return source.state(now_seconds=clock.monotonic_seconds())

    try:
        yield views, state, metric
    finally:
        await source.stop()


def addresses(view):
    return [replica.address for replica in view.fleet.replicas()]


async def test_an_edit_is_taken_in_and_a_bad_one_is_not(tmp_path, caplog):
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_text(8000))
    async with watched(path) as (views, state, metric):
        assert addresses(views[-1]) == ["10.0.0.7:8000"]

        path.write_text(fleet_text(8000, 8001))
        await until(lambda: len(views) == 2)
        assert addresses(views[-1]) == ["10.0.0.7:8000", "10.0.0.7:8001"]

        path.write_text(fleet_text(99999))
        await until(lambda: not state().current)
        assert "backends.0.replicas.0: address must be IP:PORT" in state().detail
        assert state().detail.endswith("The last good fleet file stays in force.")
        assert metric("current") == 0.0
        await asyncio.sleep(0.1)
        assert metric("views_total", result="rejected") == 1.0
        assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1

        path.unlink()
        await until(lambda: "cannot be read" in state().detail)
        path.write_text(fleet_text(8000, 8001))
        await until(lambda: state().current)
        assert len(views) == 2  # nothing new in it
        assert metric("views_total", result="published") == 2.0
        assert metric("replicas") == 2.0


async def test_a_backend_scaled_to_zero_keeps_its_models_in_mind(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_text())
    async with watched(path) as (views, _state, metric):
        assert (addresses(views[-1]), views[-1].absent_models) == ([], ("llama",))
        assert metric("replicas") == 0.0
        path.write_text(fleet_text(8000))
        await until(lambda: len(views) == 2)
        assert (addresses(views[-1]), views[-1].absent_models) == (["10.0.0.7:8000"], ())


async def test_a_mount_that_is_swapped_is_seen(tmp_path):
    for name, ports in (("one", (8000,)), ("two", (8001,))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fleet.yaml").write_text(fleet_text(*ports))
    (tmp_path / "data").symlink_to("one")
    async with watched(tmp_path / "data" / "fleet.yaml") as (views, _state, _metric):
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "data")
        await until(lambda: len(views) == 2)
        assert addresses(views[-1]) == ["10.0.0.7:8001"]


async def test_a_first_file_that_cannot_be_used_is_an_error(tmp_path):
    path = tmp_path / "fleet.yaml"
    for content, said in ((None, "cannot be read"), ("backends: []", "backends")):
        if content is not None:
            path.write_text(content)
        with pytest.raises(FleetSourceError, match=said):
            async with watched(path):
                raise AssertionError("started")
