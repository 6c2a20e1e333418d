"""The workers as processes: one that cannot keep up, one that comes late, one that cannot be."""

import os
import signal
import time

import pytest
import yaml
from telemetry_harness import until

from fleet.price import PriceBoard
from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot
from headrace.routing_plan import routing_plan
from headrace.serve_file import load_serve
from headrace.workers.crew import Crew
from headrace.workers.process import WorkerStartError
from router.workers.board import Board
from telemetry.fleet_source import FleetView

DEADLINE_SECONDS = 30.0
REPLICAS = 1000
PRICES = PriceBoard(ratios={"default": 1.5}, expires_seconds=float("inf"))


@pytest.fixture
async def crew(tmp_path):
    """Two workers of a large fleet; the fleet beside them."""
    plan, fleet = planned(tmp_path)
    workers = Crew(plan, 2, log_format="text", level=30, board=Board.create(2))
    await workers.start()
    yield workers, fleet
    await workers.stop(drain_seconds=0.0)


def planned(folder, **ext_proc):
    replicas = [{"address": f"10.0.{n // 250}.{n % 250 + 1}:8000"} for n in range(REPLICAS)]
    backend = {
        "name": "h100",
        "accelerator": "H100",
        "parameters": 8e9,
        "models": ["llama"],
        "replicas": replicas,
    }
    (folder / "fleet.yaml").write_text(yaml.safe_dump({"backends": [backend]}), encoding="utf-8")
    serve = {"fleet": "fleet.yaml", "ext_proc": {"unix_socket": str(folder / "x.sock")} | ext_proc}
    (folder / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")
    section, fleet = load_serve(folder / "serve.yaml")
    return routing_plan(section), fleet


def snapshot_of(fleet, version):
    """Every replica has new readings."""
    now_seconds = time.monotonic()
    return FleetSnapshot(
        fleet=fleet,
        signals={
            replica.address: {kind: Signal(1.0, now_seconds) for kind in SignalKind}
            for replica in fleet.replicas()
        },
        published_seconds=now_seconds,
        version=version,
    )


def publish(crew, fleet, version):
    crew.publish(FleetView(fleet=fleet), snapshot_of(fleet, version), fleet, PRICES)


async def until_at(crew, *versions):
    """The workers decide on snapshots of these versions."""

    async def are_at() -> bool:
        return [worker.standing.version for worker in crew.workers] == list(versions)

    await until(are_at, seconds=DEADLINE_SECONDS)


async def test_one_that_cannot_keep_up_is_spared_and_catches_up(crew):
    workers, fleet = crew
    slow, fast = workers.workers
    publish(workers, fleet, 1)
    await until_at(workers, 1, 1)
    os.kill(slow.pid, signal.SIGSTOP)
    version = 1
    while not slow.spared:
        version += 1
        publish(workers, fleet, version)
        await until_at(workers, 1, version)
        assert version < 60, "what waits for a stopped worker is not bounded"
    assert not fast.spared
    os.kill(slow.pid, signal.SIGCONT)

    async def has_read() -> bool:
        return not slow.channel.behind and slow.standing.version > 1

    await until(has_read, seconds=DEADLINE_SECONDS)
    publish(workers, fleet, version + 1)
    await until_at(workers, version + 1, version + 1)
    assert not slow.spared


async def test_one_that_comes_late_is_told_everything(crew):
    workers, fleet = crew
    publish(workers, fleet, 7)
    await until_at(workers, 7, 7)
    os.kill(workers.workers[0].pid, signal.SIGKILL)

    async def is_back() -> bool:
        worker = workers.workers[0]
        return worker.restarts_total == 1 and worker.standing.ready

    await until(is_back, seconds=DEADLINE_SECONDS)
    await until_at(workers, 7, 7)


async def test_one_that_cannot_listen_says_why(tmp_path):
    (tmp_path / "x.sock.1").write_text("not a socket", encoding="utf-8")
    plan, _ = planned(tmp_path)
    workers = Crew(plan, 2, log_format="text", level=30, board=Board.create(2))
    with pytest.raises(WorkerStartError) as refused:
        await workers.start()
    assert str(refused.value) == f"ext_proc: {tmp_path}/x.sock.1 exists and is not a socket."
    await workers.stop(drain_seconds=0.0)
    assert [worker.pid for worker in workers.workers] == [None, None]
