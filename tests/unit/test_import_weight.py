"""A process that only routes does not load what only others need."""

import json
import subprocess
import sys

HEAVY = {
    "aiocache",  # of Prometheus' answers
    "capper",
    "cryptography",  # of TLS
    "kopf",
    "kubernetes",
    "loadtest",
    "matplotlib",
    "numpy",
    "opentelemetry",
    "prometheus_api_client",
    "requests",
    "rich",
    "scipy",
    "zmq",
}
_SERVE = """
import asyncio, json, sys
from pathlib import Path
from headrace.serve import fleet_source
from headrace.serve_file import load_serve
from headrace.service import Service

async def once(path):
    config, fleet = load_serve(path)
    async with Service(config, fleet, fleet_source(config, path)):
        await asyncio.sleep(0.2)

import headrace.main
asyncio.run(once(Path(sys.argv[1])))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_serve_of_a_plain_fleet_file_loads_no_heavy_library(tmp_path):
    replica = {"address": "127.0.0.1:9"}
    backend = {"name": "b", "accelerator": "H100", "parameters": 8e9, "models": ["m"]}
    fleet = {"backends": [{**backend, "replicas": [replica]}]}
    serve = {
        "fleet": "fleet.yaml",
        "ext_proc": {"unix_socket": str(tmp_path / "x.sock"), "drain_seconds": 0},
        "admin": {"port": 0},
    }
    (tmp_path / "fleet.yaml").write_text(json.dumps(fleet))
    (tmp_path / "serve.yaml").write_text(json.dumps(serve))
    done = subprocess.run(
        [sys.executable, "-c", _SERVE, str(tmp_path / "serve.yaml")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"headrace", "router", "telemetry", "grpc"} <= loaded
    assert not loaded & HEAVY
