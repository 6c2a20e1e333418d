"""Router and capper in one process on a simulated fleet: a cap step, prices, sleep, and back."""

import contextlib

import pytest
from sim_vllm_harness import running_fleet
from stack_files import LONELY_FLEET, capped, write_cap, write_serve, written
from stack_harness import replica
from telemetry_harness import until

from headrace.config_errors import BadInputError
from headrace.serve_file import load_serve
from headrace.service import Service

REPLICAS = [replica(f"{kind.lower()}-{n}", kind) for kind in ("A100", "H100") for n in range(3)]


NO_PRICE = {"price": {"enabled": False}}  # else replicas wait for what the price may do


def cap_file(folder, watts, **spec):
    safety = {"shedIntervalSeconds": 0.2, "growIntervalSeconds": 0.2, "dwellSeconds": 0}
    spec = {"safety": safety, "brake": {"enabled": False}, **spec}
    write_cap(folder, watts, capped("a100"), capped("h100"), **spec)


@contextlib.asynccontextmanager
async def served(folder, fleet, *, watts, sleep="http", **spec):
    cap_file(folder, watts, **spec)
    async with Service(*load_serve(write_serve(folder, fleet, sleep=sleep))) as service:
        yield service


@pytest.fixture
async def fleet():
    async with running_fleet(*REPLICAS) as simulated:
        yield simulated


def awake(service):
    return len(service.picker.units())


def asleep(fleet):
    return {one.name for one in REPLICAS if fleet.server(one.name).replica.engine.asleep}


async def report_of(service):
    async def is_there():
        return service.capping.loop.reports.get("default/fleet-cap")

    await until(is_there, seconds=10)
    return service.capping.loop.reports["default/fleet-cap"]


async def test_a_cap_step_puts_replicas_to_sleep_and_takes_them_back(fleet, tmp_path):
    async with served(tmp_path, fleet, watts="100kW", **NO_PRICE) as service:

        async def sees_watts():
            (domain,) = (await report_of(service)).plan.domains
            return domain.watts is not None

        await until(sees_watts, seconds=10)
        (domain,) = (await report_of(service)).plan.domains
        assert awake(service) == 6
        idle_watts = domain.watts

        # The watts of idle replicas are over the cap: all that may go goes, one stays each.
        cap_file(tmp_path, 0.3 * idle_watts, **NO_PRICE)

        async def only_floors():
            return awake(service) == 2 and len(asleep(fleet)) == 4

        await until(only_floors, seconds=20)
        report = await report_of(service)
        assert [target.bound for target in report.plan.targets] == [1, 1]
        assert {unit.backend.name for unit in service.picker.units()} == {"a100", "h100"}
        shown = service.capping.to_dict()["default/fleet-cap"]
        assert [one["bound"] for one in shown["targets"]] == [1, 1]
        done = {one["action"] for one in shown["last_actions"] if one["outcome"] == "Applied"}
        assert {f"Local/default/{name}: bound 2 -> 1" for name in ("a100", "h100")} <= done
        held = {one["type"]: one["status"] for one in shown["conditions"]}
        assert (held["Ready"], held["Enforcing"]) == ("True", "True")

        cap_file(tmp_path, "100kW", **NO_PRICE)

        async def all_back():
            return awake(service) == 6 and not asleep(fleet)

        await until(all_back, seconds=20)

        async def is_quiet():
            return not (await report_of(service)).results

        await until(is_quiet, seconds=5)


async def test_the_price_reaches_the_router(fleet, tmp_path):
    async with served(tmp_path, fleet, watts=100) as service:

        async def is_dear():
            # Of the fleet's own domain, which the configuration does not name.
            return all(unit.price_ratio > 1.0 for unit in service.picker.units())

        await until(is_dear, seconds=10)
        assert {unit.replica.domain for unit in service.picker.units()} == {"default"}


async def test_observing_changes_nothing(fleet, tmp_path):
    async with served(tmp_path, fleet, watts=100, mode="Observe") as service:

        async def is_over():
            (domain,) = (await report_of(service)).plan.domains
            return domain.band.name == "SHED"

        await until(is_over, seconds=10)
        assert awake(service) == 6
        now = service._clock.monotonic_seconds()
        assert service._prices.current.ratio("default", now_seconds=now) == 1.0


async def test_a_file_that_is_broken_later_changes_nothing(fleet, tmp_path):
    async with served(tmp_path, fleet, watts="100kW") as service:
        await report_of(service)
        (tmp_path / "cap.yaml").write_text("spec: [", encoding="utf-8")
        before = await report_of(service)

        async def has_turned():
            return (await report_of(service)) is not before

        for _ in range(3):
            await until(has_turned, seconds=10)
            before = await report_of(service)
        assert before.policy.domains[0].cap.watts == 100_000


def test_a_bad_configuration_is_named_with_file_and_field(tmp_path):
    written(tmp_path / "fleet.yaml", LONELY_FLEET)
    cap_file(tmp_path, "ten")
    serve = {"fleet": "fleet.yaml", "ext_proc": {"port": 0}, "capper": {"configs": ["cap.yaml"]}}
    path = written(tmp_path / "serve.yaml", serve)
    with pytest.raises(BadInputError) as refused:
        Service(*load_serve(path))
    assert "cap.yaml: spec.powerCapLimit:" in str(refused.value)
