"""Cooling control in the process of `headrace serve`: it begins, says what it lacks, lets go."""

import yaml
from cooling_manager import cooling_manager
from stack_harness import capping_serve, fleet_file, replica
from telemetry_harness import until

from headrace.serve_file import load_serve
from headrace.service import Service
from loadtest.fleet_spec import FleetSpec
from loadtest.sim_fleet import SimFleet


def files(folder, fleet, manager):
    text = yaml.safe_dump(fleet_file(fleet, max_running_requests=64))
    (folder / "fleet.yaml").write_text(text, encoding="utf-8")
    document = {
        "apiVersion": "powercapping.climatik-project.ai/v1",
        "kind": "PowerCappingConfig",
        "metadata": {"name": "fleet-cap"},
        "spec": {
            "powerCapLimit": "100kW",
            "mode": "Enforce",
            "scaleObjectRef": [{"kind": "Deployment", "metadata": {"name": "h100"}}],
            "rackConstraints": [{"rackId": "default", "maxPower": "50kW"}],
            "cooling": {"adapter": "http", "url": manager.url, "sensorPointer": "/Sensor/Reading"},
        },
    }
    (folder / "cap.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    serve = capping_serve(fleet)
    (folder / "serve.yaml").write_text(yaml.safe_dump(serve), encoding="utf-8")
    return folder / "serve.yaml"


async def test_a_fleet_without_inlets_is_cooled_safely_and_left_so(tmp_path):
    fleet = SimFleet(FleetSpec(replicas=(replica("h100-0", "H100"),), time_scale=20.0))
    await fleet.start()
    try:
        async with cooling_manager(set_celsius=23.0) as manager:
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
    finally:
        await fleet.stop()
