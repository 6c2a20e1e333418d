"""Spans of a running service reach a collector over OTLP; bad settings are one sentence."""

import json
import subprocess
import sys
import time

import grpc
import pytest
from builders import chat
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from stack_files import LONELY_FLEET, written

from headrace.config_errors import BadInputError
from headrace.serve_file import load_serve
from headrace.service import Service

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """An OTLP receiver that keeps its spans."""

    def __init__(self):
        self.spans = []

    def _export(self, request, _context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [(resource.resource, span) for span in scope.spans]
        return ExportTraceServiceResponse()

    async def start(self):
        self._server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        handler = grpc.method_handlers_generic_handler(service, {"Export": method})
        self._server.add_generic_rpc_handlers((handler,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    async def stop(self):
        await self._server.stop(None)


def serve_file(folder, **sections):
    written(folder / "fleet.yaml", LONELY_FLEET)
    config = {
        "fleet": "fleet.yaml",
        "ext_proc": {"unix_socket": str(folder / "x.sock"), "drain_seconds": 0.5},
        "admin": {"port": 0},
        "telemetry": {"scrape": None},
    }
    return written(folder / "serve.yaml", config | sections)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_span_of_each_sampled_request_reaches_the_collector(tmp_path):
    collector = Collector()
    port = await collector.start()
    path = serve_file(
        tmp_path, tracing={"otlp_endpoint": f"http://127.0.0.1:{port}", "service_name": "router-1"}
    )
    service = Service(*load_serve(path))
    decider, recorder = service.metering.decider, service.metering.recorder
    await service.start()
    for flags in ("01", "00"):
        ticket = decider.pick(chat(), now_seconds=0.0, draw=0.5).ticket
        recorder.routed(ticket, {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-{flags}"})
        decider.settle(ticket, now_seconds=1.0)
    await service.stop()  # sends what is held
    await collector.stop()
    [(resource, span)] = collector.spans
    assert span.name == "headrace.pick"
    assert span.trace_id.hex() == TRACE_ID
    told = {attribute.key: attribute.value for attribute in span.attributes}
    assert told["headrace.policy"].string_value == "dispatch"
    assert told["headrace.candidates"].int_value == 1
    names = {attribute.key: attribute.value.string_value for attribute in resource.attributes}
    assert names["service.name"] == "router-1"


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"metering": {"max_tenants": -1}}, "metering.max_tenants"),
        ({"metering": {"carbon_intensity_grams_per_kwh": -3}}, "carbon_intensity_grams_per_kwh"),
        ({"access_log": {"port": 70_000}}, "access_log.port"),
        ({"tracing": {}}, "tracing.otlp_endpoint"),
        ({"observability": {"log_format": "xml"}}, "observability.log_format"),
    ],
)
def test_bad_settings_are_told_with_their_place(tmp_path, sections, sentence):
    path = serve_file(tmp_path, **sections)
    with pytest.raises(BadInputError, match=sentence):
        load_serve(path)


def test_logs_are_json_when_asked_for(tmp_path):
    path = serve_file(tmp_path, observability={"log_format": "json"})
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-P", "-m", "headrace.main", "serve", "--config", str(path)]
    process = subprocess.Popen([*command, "--ready-file", str(ready)], stderr=subprocess.PIPE)
    try:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert process.returncode == 0
