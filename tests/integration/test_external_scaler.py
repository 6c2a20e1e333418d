"""The external scaler as KEDA calls it: over gRPC, with KEDA's message layout."""

import asyncio

import grpc
import pytest

from capper.external_scaler import messages
from capper.external_scaler.allowances import Allowance, AllowanceBoard, AllowanceHolder
from capper.external_scaler.server import ExternalScaler
from telemetry.system_clock import SystemClock

FOREVER = float("inf")


class Keda:
    """KEDA's side: raw bytes out, our description of the messages in."""

    def __init__(self, channel):
        self._channel = channel

    def ref(self, name="llm", **metadata):
        return messages.ScaledObjectRef(name=name, namespace="prod", scalerMetadata=metadata)

    async def ask(self, method, request, answer):
        call = self._channel.unary_unary(
            f"/externalscaler.ExternalScaler/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return await call(request, timeout=5)

    def watch(self, request):
        call = self._channel.unary_stream(
            "/externalscaler.ExternalScaler/StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.IsActiveResponse.FromString,
        )
        return call(request)

    async def allowed(self, ref):
        answer = await self.ask(
            "GetMetrics",
            messages.GetMetricsRequest(scaledObjectRef=ref, metricName="headrace-cap"),
            messages.GetMetricsResponse,
        )
        (value,) = answer.metricValues
        return value


def board(replicas, *, current=3, band="Normal", name="llm", expires=FOREVER):
    allowance = Allowance(replicas=replicas, current=current, band=band)
    return AllowanceBoard(allowances={("prod", name): allowance}, expires_seconds=expires)


@pytest.fixture
def holder():
    return AllowanceHolder()


@pytest.fixture
async def keda(holder):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ExternalScaler(holder, SystemClock()).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Keda(channel)
    await server.stop(grace=None)


async def test_the_metric_is_the_replicas_that_the_cap_allows(keda, holder):
    holder.publish(board(7))
    value = await keda.allowed(keda.ref())
    assert (value.metricName, value.metricValue, value.metricValueFloat) == ("headrace-cap", 7, 7.0)


async def test_the_target_is_one_so_that_the_value_is_in_replicas(keda, holder):
    holder.publish(board(7))
    answer = await keda.ask("GetMetricSpec", keda.ref(), messages.GetMetricSpecResponse)
    (spec,) = answer.metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("headrace-cap", 1, 1.0)


async def test_the_metrics_name_can_be_chosen_in_the_trigger(keda, holder):
    holder.publish(board(7))
    answer = await keda.ask(
        "GetMetricSpec", keda.ref(metricName="row-a"), messages.GetMetricSpecResponse
    )
    assert answer.metricSpecs[0].metricName == "row-a"


@pytest.mark.parametrize(
    ("replicas", "current", "active"), [(3, 2, True), (3, 0, False), (0, 2, False)]
)
async def test_a_cap_never_wakes_a_workload(keda, holder, replicas, current, active):
    holder.publish(board(replicas, current=current))
    answer = await keda.ask("IsActive", keda.ref(), messages.IsActiveResponse)
    assert answer.result is active


async def test_a_change_of_band_is_pushed(keda, holder):
    holder.publish(board(4))
    call = keda.watch(keda.ref())
    assert (await call.read()).result is True
    holder.publish(board(4, band="Restrict"))
    assert (await asyncio.wait_for(call.read(), 5)).result is True
    holder.publish(board(0, band="Shed"))
    assert (await asyncio.wait_for(call.read(), 5)).result is False
    call.cancel()


async def test_what_did_not_change_is_not_pushed(keda, holder):
    holder.publish(board(4))
    call = keda.watch(keda.ref())
    await call.read()
    other = Allowance(replicas=1, current=1, band="Normal")
    holder.publish(
        AllowanceBoard(
            allowances={**board(4).allowances, ("prod", "other"): other}, expires_seconds=FOREVER
        )
    )
    holder.publish(board(5))
    holder.publish(board(4, band="Watch"))
    await asyncio.wait_for(call.read(), 5)
    assert (await keda.allowed(keda.ref())).metricValue == 4
    call.cancel()


async def test_an_unknown_workload_is_an_error_and_no_number(keda, holder):
    holder.publish(board(4))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keda.allowed(keda.ref(name="stranger"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "prod/stranger" in refused.value.details()


async def test_a_stopped_loop_is_an_error_so_that_fallback_rules(keda, holder):
    holder.publish(board(4, expires=-1.0))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keda.allowed(keda.ref())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_bytes_are_those_of_kedas_protocol():
    ref = messages.ScaledObjectRef(name="a", namespace="b", scalerMetadata={"k": "v"})
    assert ref.SerializeToString() == b"\n\x01a\x12\x01b\x1a\x06\n\x01k\x12\x01v"
    request = messages.GetMetricsRequest(scaledObjectRef=ref, metricName="m")
    assert request.SerializeToString() == b"\n\x0e" + ref.SerializeToString() + b"\x12\x01m"
    spec = messages.MetricSpec(metricName="m", targetSize=1, targetSizeFloat=1.0)
    assert spec.SerializeToString() == b"\n\x01m\x10\x01\x19\x00\x00\x00\x00\x00\x00\xf0?"
    value = messages.MetricValue(metricName="m", metricValue=2, metricValueFloat=2.0)
    assert value.SerializeToString() == b"\n\x01m\x10\x02\x19\x00\x00\x00\x00\x00\x00\x00@"
    assert messages.IsActiveResponse(result=True).SerializeToString() == b"\x08\x01"
