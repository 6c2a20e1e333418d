"""Cooling control in the process of `headrace serve`: it begins, says what it lacks, lets go."""

from cooling_manager import cooling_manager
from sim_vllm_harness import running_fleet
from stack_files import capped, write_cap, write_serve
from stack_harness import replica
from telemetry_harness import until

from headrace.serve_file import load_serve
from headrace.service import Service


def files(folder, fleet, manager):
    write_cap(
        folder,
        "100kW",
        capped("h100"),
        rackConstraints=[{"rackId": "default", "maxPower": "50kW"}],
        cooling={"adapter": "http", "url": manager.url, "sensorPointer": "/Sensor/Reading"},
    )
    return write_serve(folder, fleet)


async def test_a_fleet_without_inlets_is_cooled_safely_and_left_so(tmp_path):
    async with (
        running_fleet(replica("h100-0", "H100")) as fleet,
        cooling_manager(set_celsius=23.0) as manager,
    ):
        async with Service(*load_serve(files(tmp_path, fleet, manager))) as service:

            async def is_said():
                told = service.capping.to_dict().get("default/fleet-cap", {})
                held = {one["type"]: one for one in told.get("conditions", ())}
                found = held.get("CoolingUnknown")
                return found if found and found["status"] == "True" else None

            await until(is_said, seconds=20)
            assert manager.set_celsius == 18.0
            assert "rack default" in (await is_said())["message"]
            orders = len(manager.orders)
        assert len(manager.orders) == orders + 1, "one more, when the process ends"
        assert manager.set_celsius == 18.0
