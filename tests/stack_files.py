"""The files from which router and capper start on a simulated fleet, in a folder of the test."""

import yaml

MODEL, OTHER_MODEL = "llama", "llama-support"
PARAMETERS = 8.03e9
# Of one replica, where nobody listens.
LONELY_FLEET = {
    "backends": [
        {
            "name": "h100",
            "accelerator": "H100",
            "parameters": 8e9,
            "models": [MODEL],
            "replicas": [{"address": "127.0.0.1:9"}],
        }
    ]
}
# Of a cap: turns of a tenth of a second may each do something.
HASTE = {
    "shedIntervalSeconds": 0.1,
    "growIntervalSeconds": 0.1,
    "dwellSeconds": 0,
    "maxDirectionChanges": 50,
}


def written(path, document):
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def fleet_file(fleet, *, max_running_requests: int = 256) -> dict:
    """The fleet as an operator would declare it: one backend per accelerator, priors only."""
    accelerators = dict.fromkeys(spec.accelerator for spec in fleet.spec.replicas)
    return {
        "backends": [
            {
                "name": accelerator.lower(),
                "accelerator": accelerator,
                "parameters": PARAMETERS,
                "models": [MODEL],
                "max_running_requests": max_running_requests,
                "replicas": [
                    {
                        "address": fleet.addresses[spec.name],
                        "models": list(spec.models),
                        "gpu_uuids": [spec.board_uuid],
                    }
                    for spec in fleet.spec.replicas
                    if spec.accelerator == accelerator
                ],
            }
            for accelerator in accelerators
        ]
    }


def write_fleet(folder, fleet, **limits):
    """fleet.yaml; its path."""
    return written(folder / "fleet.yaml", fleet_file(fleet, **limits))


def exporter_urls(fleet) -> list[str]:
    return [f"http://{address}/metrics" for address in fleet.exporter_addresses.values()]


def capped(backend: str, **limits) -> dict:
    """What a cap refers to."""
    return {"kind": "Deployment", "metadata": {"name": backend}, **limits}


def write_cap(folder, watts, *refs: dict, **spec):
    """cap.yaml, of the configuration default/fleet-cap, which enforces; its path."""
    document = {
        "apiVersion": "powercapping.climatik-project.ai/v1",
        "kind": "PowerCappingConfig",
        "metadata": {"name": "fleet-cap"},
        "spec": {"powerCapLimit": watts, "mode": "Enforce", "scaleObjectRef": list(refs), **spec},
    }
    return written(folder / "cap.yaml", document)


def write_serve(folder, fleet, *, ext_proc: dict | None = None, **capper):
    """fleet.yaml, and serve.yaml of router and capper beside cap.yaml, ten turns a second."""
    write_fleet(folder, fleet)
    scrape = {"interval_seconds": 0.1, "exporter_urls": exporter_urls(fleet)}
    serve = {
        "fleet": "fleet.yaml",
        "ext_proc": {"drain_seconds": 0, **(ext_proc or {"host": "127.0.0.1", "port": 0})},
        "admin": {"port": 0},
        "telemetry": {"scrape": scrape},
        "capper": {"configs": ["cap.yaml"], "period_seconds": 0.1, **capper},
    }
    return written(folder / "serve.yaml", serve)
