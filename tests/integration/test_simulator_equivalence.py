"""The simulator and the production server decide alike: one trace, both, the same picks.

A simulation records what its picker was told, in order. The record is then played to a real gRPC
server with a picker of its own: snapshots as published, requests as ext_proc streams over a real
channel, ends as closed streams, on a clock that shows the recorded seconds.
"""

import asyncio
import itertools
import json

import grpc
import pytest
from builders import make_fleet
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
)
from prometheus_client import CollectorRegistry

from fleet.snapshot import FleetSnapshot, SnapshotHolder
from loadtest.arrivals import Arrival
from loadtest.simulator.simulation import Arm, Simulation, World
from loadtest.truth import truth_of
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.extproc.health import EXT_PROC_SERVICE, Readiness
from router.extproc.server import ExtProcServer, ExtProcSettings
from router.metrics import RouterMetrics

pytestmark = pytest.mark.asyncio(loop_scope="module")
DESTINATION = "x-gateway-destination-endpoint"
MODEL = "llama"
NUMBERS = itertools.count()


class RecordingPicker(Picker):
    """Writes down everything it is told, and every pick."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.record = []

    def observe(self, snapshot, prices, *, now_seconds):
        self.record.append(("observe", now_seconds, snapshot, prices))
        super().observe(snapshot, prices, now_seconds=now_seconds)

    def commit(self, *, now_seconds):
        self.record.append(("commit", now_seconds))
        super().commit(now_seconds=now_seconds)

    def pick(self, facts, *, now_seconds, draw):
        result = super().pick(facts, now_seconds=now_seconds, draw=draw)
        assert isinstance(result, Pick)
        self.record.append(("pick", now_seconds, facts, draw, result))
        return result

    def settle(self, ticket, *, now_seconds):
        self.record.append(("settle", now_seconds, ticket))
        return super().settle(ticket, now_seconds=now_seconds)


class ShownClock:
    """Shows what it is set to."""

    now_seconds = 0.0

    def monotonic_seconds(self):
        return self.now_seconds

    def epoch_seconds(self):
        return 1_700_000_000.0


def recorded(policy, fleet, arrivals):
    world = World(
        fleet=fleet,
        truths={"a100": truth_of("A100"), "h100": truth_of("H100")},
        window_seconds=30.0,
    )
    arm = Arm(name=policy, settings=DecideSettings(policy=policy))
    simulation = Simulation(world, arm, iter(arrivals), seed=1)
    simulation.picker = RecordingPicker(fleet, arm.settings)
    simulation.run()
    return simulation.picker.record


def body_of(facts):
    """A body that gives these facts: the prompt's JSON is as long as they say and is unique."""
    length = facts.prompt_bytes - 2
    prompt = f"{next(NUMBERS)}".ljust(length, "x")[:length]
    return json.dumps(
        {
            "model": facts.model,
            "prompt": prompt,
            "stream": True,
            "max_tokens": facts.max_output_tokens,
        }
    ).encode()


async def played(policy, fleet, record):
    """The addresses that the server picks when it is told the same."""
    clock, draws, picker = ShownClock(), [0.0], Picker(fleet, DecideSettings(policy=policy))
    snapshots = SnapshotHolder(FleetSnapshot(fleet=fleet, published_seconds=0.0, version=1))
    server = ExtProcServer(
        decider=picker,
        clock=clock,
        settings=ExtProcSettings(port=0),
        readiness=Readiness(snapshots),
        metrics=RouterMetrics(
            registry=CollectorRegistry(), ledger=picker.ledger, snapshots=snapshots, clock=clock
        ),
        draw=lambda: draws[0],
    )
    await server.start()
    addresses, streams = [], {}
    try:
        async with grpc.aio.insecure_channel(server.addresses()[0]) as channel:
            for what, now_seconds, *told in record:
                clock.now_seconds = now_seconds
                if what == "observe":
                    picker.observe(*told, now_seconds=now_seconds)
                elif what == "commit":
                    picker.commit(now_seconds=now_seconds)
                elif what == "pick":
                    facts, draws[0], result = told
                    stream, address = await picked(channel, facts)
                    streams[id(result.ticket)] = stream
                    addresses.append(address)
                else:
                    await ended(streams.pop(id(told[0])), picker)
    finally:
        await server.stop(drain_seconds=0)
    assert picker.ledger.running() == 0
    return addresses


async def picked(channel, facts):
    stream = channel.stream_stream(
        f"/{EXT_PROC_SERVICE}/Process",
        request_serializer=ProcessingRequest.SerializeToString,
        response_deserializer=ProcessingResponse.FromString,
    )()
    headers = [
        HeaderValue(key=":method", raw_value=b"POST"),
        HeaderValue(key=":path", raw_value=b"/v1/completions"),
    ]
    await stream.write(
        ProcessingRequest(request_headers=HttpHeaders(headers=HeaderMap(headers=headers)))
    )
    await stream.read()
    await stream.write(
        ProcessingRequest(request_body=HttpBody(body=body_of(facts), end_of_stream=True))
    )
    reply = await stream.read()
    (header,) = reply.request_body.response.header_mutation.set_headers
    return stream, header.header.raw_value.decode()


async def ended(stream, picker):
    """Close a stream and wait until the server has settled it, before time moves on."""
    before = picker.ledger.running()
    await stream.done_writing()
    async with asyncio.timeout(10):
        while picker.ledger.running() == before:
            await asyncio.sleep(0)


@pytest.mark.parametrize("policy", ["dispatch", "least-request", "greedy-marginal"])
async def test_the_server_picks_what_the_simulator_picked(policy):
    fleet = make_fleet({"A100": 2, "H100": 2}, models=(MODEL,))
    arrivals = [
        Arrival(k / 12.0, 40 + (k * 977) % 3000, 5 + (k * 131) % 200, MODEL) for k in range(300)
    ]
    record = recorded(policy, fleet, arrivals)
    simulated = [",".join(entry[4].endpoints) for entry in record if entry[0] == "pick"]

    assert await played(policy, fleet, record) == simulated
    assert len(simulated) == 300
    assert len(set(simulated)) > 1
