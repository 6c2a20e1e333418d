"""A running router follows the KV events of its fleet's engines, when the serve file says so."""

import asyncio

import pytest
from builders import make_fleet
from kv_publisher import KvPublisher, stored

from fleet.topology import Backend, Fleet, Replica
from headrace.serve_file import ServeSection
from headrace.service import Service
from router.decide.affinity_blocks import BLOCK_TOKENS


def fleet_at(address):
    [backend] = make_fleet({"H100": 1}).backends
    fields = {name: getattr(backend, name) for name in Backend.__dataclass_fields__}
    replica = Replica(address=address, backend=backend.name, models=("llama",))
    return Fleet((Backend(**fields | {"replicas": (replica,)}),))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_the_serve_file_turns_the_listener_on(tmp_path):
    fleet = fleet_at("127.0.0.1:1")  # no engine answers there; only its events are heard
    async with KvPublisher() as engine:
        config = ServeSection.model_validate(
            {
                "fleet": str(tmp_path / "fleet.yaml"),
                "ext_proc": {"unix_socket": str(tmp_path / "ext_proc.sock")},
                "admin": {"port": 0},
                "telemetry": {"scrape": {"interval_seconds": 0.1}},
                "affinity": {
                    "max_sessions": 5,
                    "kv_events": {"port": engine.port, "replay_port": engine.replay_port},
                },
            },
            strict=False,
        )
        async with Service(config, fleet) as service:
            await engine.subscribed()
            await engine.publish(stored([1], None, range(BLOCK_TOKENS)))
            for _ in range(500):
                if len(service.picker.affinity.events):
                    break
                await asyncio.sleep(0.01)
            assert len(service.picker.affinity.events) == 1
            assert service.picker.affinity.sessions.most_sessions == 5
