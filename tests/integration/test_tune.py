"""`headrace tune`: simulated replicas that follow the locks of an agent, measured and held."""

import asyncio
import contextlib
import json
import signal
import sys

import aiohttp
import nvml_harness
import pytest
from clock_agent_harness import Agent, agent_here, build_library, running, until
from sim_vllm_harness import running_fleet
from stack_files import exporter_urls, write_fleet, written
from stack_harness import chat_body, replica
from telemetry_harness import until as shortly

from headrace.main import main
from headrace.tune_file import load_tune
from headrace.tune_run import TuneError, Tuner
from telemetry.system_clock import SystemClock

FREE = (0, 650.0)
BOARDS = 1
SPEED = 3.0


@pytest.fixture
async def fleet():
    async with running_fleet(replica("h100-0", "H100"), time_scale=SPEED) as simulated:
        yield simulated


async def follow(fleet, boards):
    """The replica runs at the clock that its board is locked to."""
    simulated = fleet.server("h100-0").replica
    full, seen = simulated.engine.truth, 0
    while True:
        lock, _ = boards.settings()
        if lock != seen:
            seen = lock
            truth = full.at_clock(lock * 1e6 if lock else full.max_clock_hz)
            simulated.engine.change_truth(truth, now_seconds=simulated.now_seconds())
        await asyncio.sleep(0.01)


async def ask_for_ever(url):
    async with aiohttp.ClientSession() as client:
        while True:
            async with client.post(url, json=chat_body(max_tokens=100)) as answer:
                await answer.read()


@contextlib.asynccontextmanager
async def busy(fleet, boards, requests=24):
    url = f"http://{fleet.addresses['h100-0']}/v1/chat/completions"
    tasks = [asyncio.create_task(ask_for_ever(url)) for _ in range(requests)]
    tasks.append(asyncio.create_task(follow(fleet, boards)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def owner(fleet):
    return {"GPU-0": {fleet.addresses["h100-0"]}}


def tune_file(folder, fleet, address, **fields):
    write_fleet(folder, fleet)
    tune = {
        "fleet": "fleet.yaml",
        "backend": "h100",
        "agents": {"agents": [address]},
        "telemetry": {"scrape": {"interval_seconds": 0.1, "exporter_urls": exporter_urls(fleet)}},
        "sweep": {
            "min_mega_hertz": 780,
            "max_mega_hertz": 1980,
            "step_mega_hertz": 600,
            "settle_seconds": 0.2,
            "window_seconds": 0.6,
        },
        "min_tokens": 100,
        "lease_seconds": 3.0,
        **fields,
    }
    return written(folder / "tune.yaml", tune)


async def swept(path):
    async with Tuner(*load_tune(path), SystemClock()) as tuner:
        return await tuner.sweep()


async def test_the_best_clock_is_found_held_and_keeps_objective_and_cap(fleet, boards, tmp_path):
    async with agent_here(tmp_path / "node", owners=owner(fleet)) as (_, address):
        path = tune_file(tmp_path, fleet, address)
        async with busy(fleet, boards):
            async with Tuner(*load_tune(path), SystemClock()) as tuner:
                found = await tuner.sweep()
                # Tried at 1980, 1380 (the board has 1260) and 780 MHz.
                assert [one.hertz for one in found.points] == [1.98e9, 1.38e9, 0.78e9]
                worth = {one.hertz: one.tokens_per_joule for one in found.points}
                assert found.best.hertz == max(worth, key=worth.get)
                assert found.best.tokens_per_joule > 1.05 * worth[1.98e9]
                assert found.model.hertz < 1.98e9
                await tuner.hold(found.best.hertz, seconds=30.0)
                tuner.keep()
            # Its process may end: the lease holds.
            await held_at(boards, 1260 if found.best.hertz == 1.38e9 else 780)

            strict = await swept(tune_file(tmp_path, fleet, address, tpot_limit_seconds=1e-6))
            assert [one.verdict for one in strict.points] == ["tpot"]
            assert strict.best is None
            half = 0.5 * (found.points[0].watts + found.points[-1].watts)
            capped = await swept(tune_file(tmp_path, fleet, address, cap_watts=half))
            assert capped.points[0].verdict == "cap"
            assert capped.best.watts <= half
        await held_at(boards, 0)


async def held_at(boards, mega_hertz):
    async def is_so():
        return boards.settings()[0] == mega_hertz

    await shortly(is_so, seconds=10)


async def test_without_load_or_without_energy_nothing_is_chosen_and_all_is_given_back(
    fleet, boards, tmp_path
):
    short = {"sweep": {"min_mega_hertz": 1500, "max_mega_hertz": 1980, "step_mega_hertz": 480}}
    short["sweep"] |= {"settle_seconds": 0, "window_seconds": 1.0}
    async with agent_here(tmp_path / "node", owners=owner(fleet)) as (_, address):
        found = await swept(tune_file(tmp_path, fleet, address, **short))
        assert {one.verdict for one in found.points} == {"no_load"}
        assert (found.best, found.model) == (None, None)
        blind = {"telemetry": {"scrape": {"interval_seconds": 0.1}}}
        found = await swept(tune_file(tmp_path, fleet, address, **short, **blind))
        assert {one.verdict for one in found.points} == {"unmeasured"}
        await held_at(boards, 0)
        boards.fail(nvmlDeviceSetGpuLockedClocks=nvml_harness.PERMISSION)
        with pytest.raises(TuneError, match="CAP_SYS_ADMIN"):
            await swept(tune_file(tmp_path, fleet, address, **short))


async def test_the_command_writes_its_report_and_gives_back_when_it_is_told_to_end(
    fleet, tmp_path, tmp_path_factory
):
    library = build_library(tmp_path_factory)
    address = fleet.addresses["h100-0"]
    with running(Agent(tmp_path / "node", library, boards=1, owners={address: ["GPU-0"]})) as agent:
        path = tune_file(tmp_path, fleet, agent.address)
        command = [sys.executable, "-m", "headrace.main", "tune", "--config", str(path)]
        report = tmp_path / "report.json"
        async with busy(fleet, agent.boards):
            arguments = ["--every-seconds", "60", "--report", str(report)]
            tuning = await asyncio.create_subprocess_exec(
                *command, *arguments, stderr=asyncio.subprocess.PIPE
            )

            async def has_swept():
                assert tuning.returncode is None
                return report.exists()

            await shortly(has_swept, seconds=30)
            document = json.loads(report.read_text())
            held = 1260 if document["chosen_clock_hertz"] == 1.38e9 else 780
            await held_at(agent.boards, held)
            await asyncio.sleep(3.5)  # longer than its lease: it is renewed
            assert agent.settings()[0] == held
            tuning.send_signal(signal.SIGTERM)
            _, said = await tuning.communicate()
            assert (tuning.returncode, b"given back" in said) == (1, True)
        until(lambda: agent.settings() == FREE, seconds=5)
    assert document["schema"] == 1
    assert {"config_sha256", "fleet_sha256"} == document["inputs"].keys()
    assert [one["verdict"] for one in document["points"]] == ["kept"] * 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backend": "b200"}, "backend: must be one of h100, got 'b200'"),
        ({"cap_watts": 0}, "cap_watts: input should be greater than 0"),
        ({"agents": {"agents": ["10.0.0.1:9444"]}}, "tls is required for 10.0.0.1:9444"),
        (
            {"sweep": {"min_mega_hertz": 2, "max_mega_hertz": 1}},
            "min_mega_hertz <= max_mega_hertz must hold",
        ),
    ],
)
async def test_bad_files_end_with_the_field(fleet, tmp_path, capsys, fields, words):
    path = tune_file(tmp_path, fleet, "unix:///nobody", **fields)
    assert main(["tune", "--config", str(path)]) == 2
    assert words in capsys.readouterr().err
    assert main(["tune", "--config", str(path), "--every-seconds", "0"]) == 2
    assert "--every-seconds" in capsys.readouterr().err
